"""Where single files live that people add, replace and remove: the artifacts of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One entry of a folder; `bytes` is 0 for a folder."""

    name: str
    is_folder: bool
    bytes: int = 0


class Draft(Protocol):
    """A file on its way: nobody sees it before `keep`, and `drop` removes it."""

    def add(self, *chunks: bytes) -> None:
        """Write these, one after the other."""
        ...

    def keep(self, path: str) -> None:
        """Let it appear at `path`, in place of what is there. Raises `InvalidInput` for
        a path that isn't a plain one below the root."""
        ...

    def drop(self) -> None: ...


class Files(Protocol):
    def draft(self) -> Draft: ...

    def find(self, path: str) -> Path:
        """The file on this machine. Raises `NotFound`."""
        ...

    def folder(self, path: str) -> Path:
        """Where a folder's files are on this machine, whether there are any or not."""
        ...

    def list(self, path: str) -> Sequence[FileEntry]:
        """What lies in a folder, by name; the file itself for a file's path, nothing
        for a path that isn't there."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it. Raises `NotFound`."""
        ...

    def sweep(self) -> None:
        """Remove what dead writers left; call it when the platform starts."""
        ...
