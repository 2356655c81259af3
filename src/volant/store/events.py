"""Events: the outbox. Rows are written in the transactions of the changes they tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from volant.domain.event import Event
from volant.store.engine import Database, Write
from volant.store.prepared import Prepared
from volant.store.rows import missing, one, page, paged, record, values
from volant.store.schema import events

_FIELDS = [column for column in events.c if column.name not in ("seq", "dispatched_at")]

_NAMES = [column.name for column in _FIELDS]
_PENDING = Prepared(
    lambda _: (
        sa.select(*_FIELDS)
        .where(events.c.dispatched_at.is_(None))
        .order_by(events.c.seq)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )
)
_DISPATCHED = Prepared(
    lambda _: (
        sa.update(events)
        .where(events.c.id == sa.bindparam("event_id"), events.c.dispatched_at.is_(None))
        .values(dispatched_at=sa.bindparam("moment"))
    )
)


class SqlEvents:
    """`EventRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, event: Event) -> bool:
        with self._database.write() as work:
            return emit(work, event)

    def pending(self, limit: int) -> Sequence[Event]:
        with self._database.read() as connection:
            found = _PENDING.rows(connection, most=limit)
        return [Event(**dict(zip(_NAMES, row, strict=True))) for row in found]

    def pending_count(self) -> int:
        statement = sa.select(sa.func.count()).where(events.c.dispatched_at.is_(None))
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def mark_dispatched(self, event_id: str) -> None:
        told = {"event_id": event_id, "moment": datetime.now(UTC)}
        with self._database.write() as work:
            if not _DISPATCHED.run(work.connection, [told]):
                _find(work.connection, event_id)  # dispatched already, or unknown

    def get(self, event_id: str) -> Event:
        with self._database.read() as connection:
            return _find(connection, event_id)

    def page(
        self, limit: int, before: str | None = None, *, subject: str | None = None
    ) -> tuple[Sequence[Event], str | None]:
        statement = sa.select(*_FIELDS)
        if subject is not None:
            statement = statement.where(events.c.subject == subject)
        with self._database.read() as connection:
            rows, following = page(connection, statement, events.c.seq, limit, before)
        return paged(Event, rows), following


def emit(work: Write, event: Event) -> bool:
    """Store `event` in an open transaction, to be told after its commit; False when its
    id is stored already."""
    new = work.insert_new(events, values(events, event, dispatched_at=None))
    if new:
        work.events.append(event)
    return new


def _find(connection: sa.Connection, event_id: str) -> Event:
    row = one(connection, sa.select(*_FIELDS).where(events.c.id == event_id))
    if row is None:
        raise missing("event", event_id)
    return record(Event, row)
