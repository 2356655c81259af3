"""Single files in a folder of this machine.

A file is written under another name and renamed into place: a reader sees the old one or
the new one whole, whenever the process dies. It isn't synced to the disk, as a client
makes thousands of these; what is registered as a model is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from volant.errors import Conflict, InvalidInput, NotFound, ResourceExhausted, Unavailable
from volant.faults import crash_point
from volant.ports.files import Draft, FileEntry

_INCOMING = ".incoming"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MOST_PATH = 2048  # bytes: with the root before it, what Linux takes (PATH_MAX is 4096)
_AT_ONCE = 1024  # buffers of one write, what Linux takes (IOV_MAX)
_STALE_S = 24 * 3600.0  # a draft that nobody added to for a day has no writer any more


class LocalDraft:
    """`Draft` as a hidden file beside the others."""

    def __init__(self, files: LocalFiles, path: Path) -> None:
        self._files = files
        self._path = path
        with told(path):
            self._file = path.open("xb", buffering=0)

    def add(self, *chunks: bytes) -> None:
        left = [memoryview(chunk) for chunk in chunks if chunk]
        with told(self._path):
            while left:
                written = os.writev(self._file.fileno(), left[:_AT_ONCE])
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]

    def keep(self, path: str) -> None:
        self._file.close()
        try:
            target = self._files.place(path)
            with told(target):
                crash_point("artifact.written")
                self._files.make_room(target)
                self._path.rename(target)
        finally:
            self._path.unlink(missing_ok=True)

    def drop(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class LocalFiles:
    """`Files` under the folder `root`. Threads and processes may share it. Where they are
    `transient`, what nobody touched for a day is a dead writer's too."""

    def __init__(self, root: Path, *, transient: bool = False) -> None:
        self._root = root.absolute()
        self._transient = transient

    def draft(self) -> Draft:
        incoming = self._root / _INCOMING
        with told(incoming):
            incoming.mkdir(parents=True, exist_ok=True)
        return LocalDraft(self, incoming / secrets.token_hex(16))

    def find(self, path: str) -> Path:
        found = self.place(path)
        if not found.is_file():
            raise _absent(path)
        return found

    def folder(self, path: str) -> Path:
        return self.place(path)

    def list(self, path: str) -> Sequence[FileEntry]:
        folder = self.place(path) if path.strip("/") else self._root
        if folder.is_file():
            return [FileEntry(folder.name, False, folder.stat().st_size)]
        if not folder.is_dir():
            return []
        entries = [
            FileEntry(entry.name, entry.is_dir(), 0 if entry.is_dir() else entry.stat().st_size)
            for entry in os.scandir(folder)
            if entry.name != _INCOMING and not entry.is_symlink()
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def delete(self, path: str) -> None:
        target = self.place(path)
        with told(target):
            if target.is_dir():
                # Out of sight in one step, then gone: nobody sees half of it.
                doomed = self._root / _INCOMING / secrets.token_hex(16)
                doomed.parent.mkdir(parents=True, exist_ok=True)
                target.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
            elif target.is_file():
                target.unlink()
            else:
                raise _absent(path)

    def sweep(self) -> None:
        for folder in (self._root / _INCOMING, *([self._root] if self._transient else [])):
            for path in folder.iterdir() if folder.is_dir() else ():
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > _STALE_S:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def place(self, path: str) -> Path:
        """Where `path` lies. Raises `InvalidInput` for one that isn't plainly below the
        root, or that leads through a link."""
        clean = PurePosixPath(path)
        if (
            not path
            or path != clean.as_posix()
            or not clean.parts
            or clean.is_absolute()
            or len(os.fsencode(path)) > _MOST_PATH
            or any(part in (".", "..") or len(part.encode()) > 255 for part in clean.parts)
            or clean.parts[0] == _INCOMING
            or any(mark in path for mark in "\\\0")
        ):
            raise InvalidInput(
                f"Invalid path: {path[:200]!r} isn't a plain path of an artifact.",
                "Give a relative path such as model/MLmodel, without . or .. in it.",
                code="invalid_parameter",
            )
        found = self._root.joinpath(*clean.parts)
        if not found.resolve().is_relative_to(self._root.resolve()):
            raise InvalidInput(
                f"Invalid path: {path[:200]!r} leads out of the store through a link.",
                f"Remove the link under {self._root}.",
                code="invalid_parameter",
            )
        return found

    def make_room(self, target: Path) -> None:
        """The folder of a new file. Raises `Conflict` where a file or folder is in the way."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _in_the_way(target.parent) from None
        if target.is_dir():
            raise _in_the_way(target)


def _absent(path: str) -> NotFound:
    return NotFound(
        f"There is no artifact {path[:200]!r}.",
        "`mlflow artifacts list` shows what is there.",
        code="artifact_missing",
    )


def _in_the_way(path: Path) -> Conflict:
    return Conflict(
        f"{path.name!r} is there already, and is no folder where one is needed or the reverse.",
        "Choose another name.",
        code="artifact_in_the_way",
    )


@contextmanager
def told(path: Path) -> Generator[None]:
    """The operating system's refusals in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise ResourceExhausted(
                "No space is left for artifacts.",
                "Free some space on that disk and try again; nothing was half-written.",
                code="disk_full",
            ) from error
        raise Unavailable(
            f"{path.name} can't be stored: {error.strerror or error}.",
            "Check that the artifact folder may be written.",
        ) from error
