"""Extensions: a row each, with its services and their sealed credentials."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.extension import Extension
from volant.errors import Conflict
from volant.ports.extensions import Edit
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.extension_tables import extensions
from volant.store.rows import columns, missing, one, record, several, values


class SqlExtensions:
    """`ExtensionRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, extension: Extension, event: Event) -> None:
        with self._database.write() as work:
            if not work.insert_new(extensions, values(extensions, extension)):
                raise Conflict(
                    f"There is an extension {extension.id!r} already.",
                    f"Change it with `volant extension update {extension.id}`, or delete it first.",
                    code="extensions.exists",
                )
            emit(work, event)

    def change(self, extension_id: str, edit: Edit, event: Event) -> Extension:
        with self._database.write() as work:
            changed = edit(_find(work.connection, extension_id, lock=True))
            _store(work, changed)
            emit(work, event)
            return changed

    def change_all(self, edit: Edit, event: Event) -> None:
        statement = sa.select(*columns(extensions)).order_by(extensions.c.id).with_for_update()
        with self._database.write() as work:
            for each in several(work.connection, Extension, statement):
                _store(work, edit(each))
            emit(work, event)

    def delete(self, extension_id: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(extensions).where(extensions.c.id == extension_id)):
                raise _missing(work.connection, extension_id)
            emit(work, event)

    def get(self, extension_id: str) -> Extension:
        with self._database.read() as connection:
            return _find(connection, extension_id)

    def list(self) -> Sequence[Extension]:
        statement = sa.select(*columns(extensions)).order_by(extensions.c.id)
        with self._database.read() as connection:
            return several(connection, Extension, statement)


def _store(work: Write, extension: Extension) -> None:
    new = values(extensions, extension)
    work.execute(sa.update(extensions).where(extensions.c.id == extension.id).values(new))


def _find(connection: sa.Connection, extension_id: str, *, lock: bool = False) -> Extension:
    statement = sa.select(*columns(extensions)).where(extensions.c.id == extension_id)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        raise _missing(connection, extension_id)
    return record(Extension, row)


def _missing(connection: sa.Connection, extension_id: str) -> Exception:
    known = connection.execute(sa.select(extensions.c.id)).scalars()
    return missing("extension", extension_id, list(known))
