"""Versioned tables of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Tables(Protocol):
    """Append-only tables with numbered versions, starting at 0."""

    def append(self, table: str, rows: pa.Table, *, key: str) -> int:
        """Commit `rows` and return the new version; the same `key` again commits
        nothing and returns the version that it made the first time. Raises
        `ResourceExhausted` when the disk is full; the table is then unchanged."""
        ...

    def read(
        self,
        table: str,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """The rows at `version` (the newest when None), in the order they were appended,
        the first `limit` of them when given. `columns=()` gives a table without columns
        whose `num_rows` is right. Raises `NotFound` for an unknown table, version or
        column."""
        ...

    def version_of(self, table: str, key: str) -> int | None:
        """The version that `append` with this `key` made, or None."""
        ...

    def exists(self, table: str) -> bool: ...
