"""The audit log: rows are added, never changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.principal import AuditEntry
from volant.store.engine import Database
from volant.store.rows import columns, page, paged, values
from volant.store.schema import audit


class SqlAudit:
    """`AuditRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entry: AuditEntry) -> None:
        with self._database.write() as work:
            work.insert(audit, values(audit, entry))

    def page(
        self, limit: int, before: str | None = None
    ) -> tuple[Sequence[AuditEntry], str | None]:
        with self._database.read() as connection:
            rows, following = page(
                connection, sa.select(*columns(audit)), audit.c.seq, limit, before
            )
        return paged(AuditEntry, rows), following
