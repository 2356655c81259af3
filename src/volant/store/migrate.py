"""Bringing a database's schema up to date.

The usual case, nothing to do, is one SELECT, and a new SQLite file gets its tables from
SQL that is kept ready: Alembic takes half a second, and every start would pay for it.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from volant.errors import Conflict
from volant.store.engine import Database
from volant.store.migrations import HEAD, HISTORY

# Any number will do, so long as nobody else locks it: the letters "volant".
_ADVISORY_LOCK = int.from_bytes(b"volant", "big")
_VERSION_TABLE = sa.table("alembic_version", sa.column("version_num"))


def migrate(database: Database, *, ready_made: bool = True) -> None:
    """Make or upgrade the tables; safe when several processes do it at once. An empty
    SQLite file gets the `ready_made` ones.

    Raises `Conflict` for a schema that a newer Volant made.
    """
    with database.read() as connection:
        if stored_revision(connection, database) == HEAD:
            return
    with database.write() as work:
        if not database.is_sqlite:  # SQLite's write lock is held already
            work.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if stored_revision(work.connection, database) == HEAD:
            return
        if ready_made and database.is_sqlite and _is_empty(work.connection):
            _make(work.connection)
        else:
            _upgrade(work.connection)


def stored_revision(connection: sa.Connection, database: Database) -> str | None:
    """The schema's revision, or None when there are no tables yet. Raises `Conflict`
    for one that this code doesn't know."""
    if not connection.dialect.has_table(connection, _VERSION_TABLE.name):
        return None
    revision = connection.execute(sa.select(_VERSION_TABLE.c.version_num)).scalar()
    if revision is not None and revision not in HISTORY:
        raise Conflict(
            f"The database {database.location} has schema {revision},"
            f" and this Volant knows none after {HEAD}.",
            "A newer Volant made it: install that version, or use another database.",
            code="schema_newer",
            details={"schema": revision, "known": HEAD},
        )
    return revision


def _is_empty(connection: sa.Connection) -> bool:
    return connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0


def _make(connection: sa.Connection) -> None:
    from volant.store.migrations import snapshot

    for statement in snapshot.statements():
        connection.exec_driver_sql(statement)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
