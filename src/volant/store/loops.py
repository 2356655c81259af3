"""Loops, with their triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.loop import Loop
from volant.domain.trigger import Trigger
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.schema import loops
from volant.store.schema import triggers as trigger_table


class SqlLoops:
    """`LoopRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(self, loop: Loop, triggers: Sequence[Trigger], event: Event) -> Loop:
        """As the port says; the event's data gets the loop's `generation`."""
        with self._database.write() as work:
            first = replace(loop, generation=1)
            if work.insert_new(loops, values(loops, first)):
                stored = first
            else:
                old = _find(work.connection, loop.name, lock=True)
                if (old.source, old.code_hash) == (loop.source, loop.code_hash):
                    return old
                stored = _replace(work, old, loop)
            _set_triggers(work, loop.name, triggers)
            emit(work, replace(event, data={**event.data, "generation": stored.generation}))
            return _find(work.connection, loop.name)

    def get(self, name: str) -> Loop:
        with self._database.read() as connection:
            return _find(connection, name)

    def list(self) -> Sequence[Loop]:
        statement = sa.select(*columns(loops)).order_by(loops.c.name)
        with self._database.read() as connection:
            return several(connection, Loop, statement)

    def delete(self, name: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(loops).where(loops.c.name == name)):
                raise missing("loop", name)
            emit(work, event)


def _replace(work: Write, old: Loop, new: Loop) -> Loop:
    stored = replace(new, generation=old.generation + 1, created_at=old.created_at)
    work.execute(
        sa.update(loops)
        .where(loops.c.name == old.name, loops.c.generation == old.generation)
        .values(values(loops, stored))
    )
    return stored


def _set_triggers(work: Write, loop: str, new: Sequence[Trigger]) -> None:
    work.execute(sa.delete(trigger_table).where(trigger_table.c.loop == loop))
    for trigger in new:
        work.execute(sa.insert(trigger_table).values(values(trigger_table, trigger, loop=loop)))


def _find(connection: sa.Connection, name: str, *, lock: bool = False) -> Loop:
    statement = sa.select(*columns(loops)).where(loops.c.name == name)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        raise missing("loop", name)
    return record(Loop, row)
