"""A model's files on disk, each proven by the SHA-256 that the registry stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volant.errors import Conflict, NotFound

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The folder of one version; `files` maps each registered file to its SHA-256."""

    folder: Path
    files: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """The file's content, which is the very content that was proven.

        Raises `Conflict` for a file that isn't registered or was altered, `NotFound` for
        one that can't be read.
        """
        expected = self._expected(name)
        try:
            body = (self.folder / name).read_bytes()
        except OSError as error:
            raise _unreadable(name, error) from error
        _same(name, hashlib.sha256(body).hexdigest(), expected)
        return body

    def prove(self, prefix: str) -> Path:
        """The path of the file or folder `prefix`, for a library that reads it by itself:
        all registered files of it are as registered, and there are no others."""
        target = self.folder / prefix
        present = {
            path.relative_to(self.folder).as_posix()
            for path in ([target] if target.is_file() else target.rglob("*"))
            if not path.is_dir() or path.is_symlink()
        }
        registered = {n for n in self.files if n == prefix or n.startswith(f"{prefix}/")}
        if not registered:
            raise _unknown(prefix)
        for name in sorted(present | registered):
            expected = self._expected(name)
            digest = hashlib.sha256()
            try:
                with (self.folder / name).open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise _unreadable(name, error) from error
            _same(name, digest.hexdigest(), expected)
        return target

    def _expected(self, name: str) -> str:
        expected = self.files.get(name)
        if expected is None:
            raise _unknown(name)
        return expected


def _unknown(name: str) -> Conflict:
    return Conflict(
        f"{name} isn't among the registered files of this model version.",
        "Register the model again.",
        code="model_files",
    )


def _unreadable(name: str, error: OSError) -> NotFound:
    return NotFound(
        f"{name} of the model can't be read: {error.strerror}.",
        "Restore the artifact store, or deploy another version.",
        code="model_files",
    )


def _same(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise Conflict(
            f"{name} was altered: its SHA-256 is {found}, registered was {expected}.",
            "Restore the file from a backup, or deploy another version.",
            code="model_files",
        )
