"""Triggers and their firings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from volant.domain.decision import Decision
from volant.domain.event import Event
from volant.domain.trigger import Firing, Trigger
from volant.store.decisions import insert_decision
from volant.store.engine import Database
from volant.store.events import emit
from volant.store.rows import columns, several, values
from volant.store.schema import firings, triggers


class SqlTriggers:
    """`TriggerRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_dataset(self, dataset: str) -> Sequence[Trigger]:
        return self._all(triggers.c.kind == "data", triggers.c.dataset == dataset)

    def due(self, now: datetime) -> Sequence[Trigger]:
        return self._all(triggers.c.kind == "cron", triggers.c.next_at <= now)

    def list(self, loop: str | None = None) -> Sequence[Trigger]:
        return self._all(*([] if loop is None else [triggers.c.loop == loop]))

    def advance(self, trigger_id: str, expected: datetime, next_at: datetime, event: Event) -> bool:
        guarded = (
            sa.update(triggers)
            .where(triggers.c.id == trigger_id, triggers.c.next_at == expected)
            .values(next_at=next_at)
        )
        with self._database.write() as work:
            if not work.changed(guarded):
                return False
            emit(work, event)
            return True

    def fire(self, firing: Firing, decision: Decision) -> bool:
        with self._database.write() as work:
            if not work.insert_new(firings, values(firings, firing)):
                return False
            insert_decision(work, decision)
            return True

    def _all(self, *conditions: sa.ColumnElement[bool]) -> Sequence[Trigger]:
        statement = sa.select(*columns(triggers)).where(*conditions).order_by(triggers.c.id)
        with self._database.read() as connection:
            return several(connection, Trigger, statement)
