"""Layers: folders as tars that are the same bytes for the same files.

No times, no owners, nothing of this machine is in them; modes are 0755 and 0644, whoever
runs the image may read all. The compressed bytes follow from zlib, so they are the same
wherever its version is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from volant.errors import InvalidInput
from volant.oci.blob import BLOCK, Blob

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed tar. `diff_id` is the digest of the tar itself, `unpacked` its size in
    bytes."""

    blob: Blob
    diff_id: str
    unpacked: int
    made_by: str


class _Digesting:
    """A file that hashes what is written through it."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self._into.write(data)

    def flush(self) -> None:
        self._into.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


def write_layer(target: Path, files: Mapping[str, Path], made_by: str) -> Layer:
    """Write the layer with `files` (path in the image → file here) to `target`.

    Raises `InvalidInput` for a path that climbs out or a file that is no plain one.
    """
    with target.open("wb") as raw:
        packed = _Digesting(raw)
        with gzip.GzipFile("", "wb", _LEVEL, packed, mtime=0) as squeezed:  # pyright: ignore[reportArgumentType]
            plain = _Digesting(squeezed)  # pyright: ignore[reportArgumentType]
            # Blocks of the tar's own size would make gzip's calls many and small.
            buffered = io.BufferedWriter(_Raw(plain), BLOCK)
            write_tar(buffered, files)
            buffered.flush()
            buffered.detach()
    blob = Blob(packed.digest, packed.size, target)
    return Layer(blob, plain.digest, plain.size, made_by)


class _Raw(io.RawIOBase):
    def __init__(self, into: _Digesting) -> None:
        self._into = into

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._into.write(bytes(data))  # type: ignore[call-overload]


def write_tar(into: IO[bytes], files: Mapping[str, Path]) -> None:
    """The tar of `files` with the folders above them, in the order of their names."""
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK) as tar:
        made: set[str] = set()
        for name in sorted(files):
            check_path(name)
            for folder in reversed(PurePosixPath(name).parents):
                if folder.as_posix() not in (".", *made):
                    made.add(folder.as_posix())
                    entry = tarfile.TarInfo(folder.as_posix())
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            _add(tar, name, files[name])


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        raise InvalidInput(f"{path} is no plain file.", "Put the file itself there.")
    entry = tarfile.TarInfo(name)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
        tar.addfile(entry, file)


def check_path(name: str) -> None:
    """Raises `InvalidInput` for a path that isn't plain, relative and below its folder."""
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or path.as_posix() != name
        or any(part in ("", ".", "..") for part in path.parts)
        or any(mark in name for mark in ("\\", "\0", "\n"))
        or len(name.encode()) > 1024
    ):
        raise InvalidInput(
            f"{name[:200]!r} leads out of the model's folder, or is no plain path.",
            "It was made by something else; nothing of it was kept.",
            code="oci.path",
        )


def files_under(folder: Path, prefix: str) -> dict[str, Path]:
    """Each plain file of `folder` by its path under `prefix` in the image."""
    return {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(here) / name


def unpack(layer: Layer, prefix: str, folder: Path) -> Path:
    """The files of a layer of ours under `folder`; returns where `prefix` is."""
    with tarfile.open(layer.blob.path, mode="r:gz") as tar:
        tar.extractall(folder, filter="data")
    return folder / prefix
