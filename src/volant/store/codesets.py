"""Codesets: what is known of the repositories, and of what they mirror."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.codeset import Codeset, Mirror
from volant.domain.event import Event
from volant.store.codeset_tables import codeset_mirrors, codesets
from volant.store.engine import Database
from volant.store.events import emit
from volant.store.rows import columns, missing, one, record, several, values


class SqlCodesets:
    """`CodesetRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, codeset: Codeset, event: Event) -> Codeset:
        with self._database.write() as work:
            if work.insert_new(codesets, values(codesets, codeset)):
                emit(work, event)
            return _find(work.connection, codeset.project, codeset.name)

    def describe(
        self, project: str, name: str, *, description: str | None, labels: Sequence[str] | None
    ) -> Codeset:
        told: dict[str, Any] = {}
        if description is not None:
            told["description"] = description
        if labels is not None:
            told["labels"] = tuple(labels)
        with self._database.write() as work:
            if told:
                changed = sa.update(codesets).where(*_named(codesets, project, name))
                work.execute(changed.values(told))
            return _find(work.connection, project, name)

    def get(self, project: str, name: str) -> Codeset:
        with self._database.read() as connection:
            return _find(connection, project, name)

    def list(self, *, project: str | None = None, label: str | None = None) -> Sequence[Codeset]:
        statement = sa.select(*columns(codesets)).order_by(codesets.c.project, codesets.c.name)
        if project is not None:
            statement = statement.where(codesets.c.project == project)
        with self._database.read() as connection:
            found = several(connection, Codeset, statement)
        return [each for each in found if label is None or label in each.labels]

    def pushed(self, before: Codeset, after: Codeset, event: Event) -> bool:
        guarded = (
            sa.update(codesets)
            .where(*_named(codesets, before.project, before.name))
            .where(codesets.c.pushes == before.pushes)
            .where(codesets.c.created_at == before.created_at)
            .values(branch=after.branch, head=after.head, pushes=after.pushes)
        )
        with self._database.write() as work:
            return work.changed(guarded) and emit(work, event)

    def delete(self, project: str, name: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(codesets).where(*_named(codesets, project, name))):
                raise missing("codeset", f"{project}/{name}")
            emit(work, event)

    def set_mirror(self, mirror: Mirror) -> Mirror:
        with self._database.write() as work:
            _find(work.connection, mirror.project, mirror.name)
            if not work.insert_new(codeset_mirrors, values(codeset_mirrors, mirror)):
                work.execute(
                    sa.update(codeset_mirrors)
                    .where(*_named(codeset_mirrors, mirror.project, mirror.name))
                    .values(url=mirror.url, interval_s=mirror.interval_s)
                )
            work.execute(
                sa.update(codesets)
                .where(*_named(codesets, mirror.project, mirror.name))
                .values(origin=mirror.url)
            )
            row = one(work.connection, _mirror(mirror.project, mirror.name))
            assert row is not None
            return record(Mirror, row)

    def mirror(self, project: str, name: str) -> Mirror | None:
        with self._database.read() as connection:
            row = one(connection, _mirror(project, name))
        return None if row is None else record(Mirror, row)

    def mirrors(self) -> Sequence[Mirror]:
        statement = sa.select(*columns(codeset_mirrors)).order_by(
            codeset_mirrors.c.project, codeset_mirrors.c.name
        )
        with self._database.read() as connection:
            return several(connection, Mirror, statement)

    def tried(self, project: str, name: str, at: datetime, error: str | None) -> None:
        with self._database.write() as work:
            work.execute(
                sa.update(codeset_mirrors)
                .where(*_named(codeset_mirrors, project, name))
                .values(tried_at=at, error=error)
            )


def _named(table: sa.Table, project: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.project == project, table.c.name == name


def _mirror(project: str, name: str) -> sa.Select[Any]:
    return sa.select(*columns(codeset_mirrors)).where(*_named(codeset_mirrors, project, name))


def _find(connection: sa.Connection, project: str, name: str) -> Codeset:
    statement = sa.select(*columns(codesets)).where(*_named(codesets, project, name))
    row = one(connection, statement)
    if row is None:
        known = connection.execute(sa.select(codesets.c.project, codesets.c.name)).all()
        raise missing("codeset", f"{project}/{name}", [f"{each[0]}/{each[1]}" for each in known])
    return record(Codeset, row)
