"""Versioned tables of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
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

    def scan(self, table: str, *, version: int | None = None, rows: int) -> Iterator[pa.Table]:
        """As `read`, in pieces of at most `rows` rows, of which few are in memory."""
        ...

    def newest(
        self, table: str, limit: int, *, since: datetime | None = None, column: str = "time"
    ) -> pa.Table:
        """The last `limit` rows, oldest first; with `since`, only those whose `column` is
        at or after it. Raises `NotFound` for an unknown table."""
        ...

    def trim(self, table: str, max_bytes: int) -> int:
        """Forget the oldest appends until the others take at most `max_bytes` bytes;
        returns how many rows went. The newest append stays. Older versions may not be
        readable afterwards. For one process at a time."""
        ...
