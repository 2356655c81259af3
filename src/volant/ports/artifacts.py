"""Where models' and runs' files live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Artifacts(Protocol):
    def put_tree(self, key: str, source: Path) -> tuple[str, Mapping[str, str]]:
        """Copy the folder `source` to `key`, all or nothing; returns its URI and the
        SHA-256 of each file by relative path. The same key again with the same
        content changes nothing; with other content it raises `Conflict`."""
        ...

    def local_path(self, uri: str) -> Path:
        """A folder on this machine with the files of `uri`. Raises `NotFound`."""
        ...

    def verify(self, uri: str, files: Mapping[str, str]) -> None:
        """Raises `Conflict` naming the first file that is missing, added or altered."""
        ...

    def check(self, uri: str, files: Mapping[str, str]) -> Mapping[str, str]:
        """How each file is: `right`, `changed`, `missing`, or `added` for one that isn't
        in `files`; all `missing` when nothing is there."""
        ...

    def remove(self, uri: str) -> None:
        """Take away all that is at or below `uri`, all or nothing; does nothing when there
        is none."""
        ...
