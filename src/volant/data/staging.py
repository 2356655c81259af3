"""Where uploads wait for their push: `<staging>/<upload-id>/<filename>`.

A file is written beside its final name and renamed when it is complete and on disk,
so what lies there under its own name is whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from volant.durable import sync
from volant.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable, VolantError

_ID = re.compile(r"[a-z]+-[a-z0-9]{1,64}")
_ODD = re.compile(r"[^\w.,()+=@ -]")
_LONGEST = 200  # bytes of a file's name; file systems stop at 255
_PARTIAL = ".partial"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Staging:
    """The staging folder. Every method may be repeated after a crash."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def receive(self, upload_id: str, filename: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        """Store an upload: {id, filename, bytes, sha256}.

        Raises `InvalidInput` for no bytes at all, `ResourceExhausted` on a full disk.
        Whatever goes wrong, nothing of the upload stays.
        """
        name = safe_name(filename)
        folder = self._root / upload_id
        partial = folder / _PARTIAL
        try:
            folder.mkdir(parents=True)
            size, digest = _write(partial, chunks)
            if not size:
                raise InvalidInput(
                    f"{filename!r} is empty: 0 bytes arrived.",
                    "Push a file with a header and rows.",
                    code="file_empty",
                )
            partial.rename(folder / name)
            sync(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _failure(filename, error) from error
        except BaseException:  # the sender's connection broke, say
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return {"id": upload_id, "filename": name, "bytes": size, "sha256": digest}

    def file_of(self, upload_id: str) -> Path:
        """The uploaded file. Raises `NotFound`."""
        if _ID.fullmatch(upload_id):
            folder = self._root / upload_id
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            complete = [file for file in files if file.name != _PARTIAL]
            if complete:
                return complete[0]
        raise NotFound(
            f"There is no upload {upload_id!r}.",
            "Upload the file first, and push it under the id that the upload answers.",
        )

    def keep_options(self, push_id: str, options: Mapping[str, Any]) -> None:
        """Remember how a push is to be read, for a start after a crash."""
        path = self._options(push_id)
        partial = path.with_suffix(_PARTIAL)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, [json.dumps(dict(options)).encode()])
            partial.rename(path)
            sync(path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _failure(path.name, error) from error

    def options(self, push_id: str) -> dict[str, Any]:
        """What `keep_options` stored; nothing when it never did."""
        try:
            return json.loads(self._options(push_id).read_text())
        except FileNotFoundError:
            return {}

    def drop(self, push_id: str, files: Iterable[str]) -> None:
        """Remove a finished push's uploads and options."""
        for file in files:
            folder = Path(file).parent
            if folder.parent == self._root:
                shutil.rmtree(folder, ignore_errors=True)
        self._options(push_id).unlink(missing_ok=True)

    def _options(self, push_id: str) -> Path:
        return self._root / "pushes" / f"{push_id}.json"


def safe_name(filename: str) -> str:
    """The last part of a path, without what could climb, hide or confuse."""
    last = re.split(r"[/\\]", filename)[-1]
    name = _ODD.sub("_", last).strip(" .") or "upload"
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 10:
        stem, suffix = name, ""
    room = _LONGEST - len((dot + suffix).encode())
    stem = stem.encode()[:room].decode("utf-8", errors="ignore")
    return f"{stem}.{suffix}" if suffix else stem


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _failure(filename: str, error: OSError) -> VolantError:
    if error.errno in _FULL:
        return ResourceExhausted(
            f"The disk is full: {filename!r} could not be stored.",
            "Free some space and push again; nothing of it was kept.",
            code="disk_full",
        )
    return Unavailable(
        f"{filename!r} can't be stored: {error.strerror or error}.",
        "Check the permissions of the platform's home folder, then push again.",
    )
