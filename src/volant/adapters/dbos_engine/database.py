"""DBOS' own database: how it is opened, and the few columns that we read ourselves."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from dbos._error import DBOSAwaitedWorkflowCancelledError, DBOSWorkflowCancelledError
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError

from volant.adapters.dbos_engine.turns import take_turns
from volant.errors import InvalidInput, MissingExtra, ResourceExhausted, Unavailable

SCHEMA = "dbos"
LOCK_WAIT_MS = 30_000  # the busy timeout that DBOS sets for engines of its own

_ASKED_WAIT_MS = 5_000  # while somebody waits for an answer


def _tells_more(record: logging.LogRecord) -> bool:
    """Whether a record of DBOS' is kept. To it a cancelled run is an exception in a thread
    of its own, told as an error; a run's end is told by its record."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, DBOSAwaitedWorkflowCancelledError | DBOSWorkflowCancelledError)


_log = logging.getLogger("dbos")
# A handler of its own keeps DBOS from adding one that writes to the terminal.
_log.addHandler(logging.NullHandler())
_log.addFilter(_tells_more)

# By what SQLite says; runs.db lies in the home.
_FIXES = {
    "locked": "Close the other program that has runs.db open, then try again.",
    "readonly": "Make runs.db and its folder writable for the user that runs Volant.",
    "not a database": "Put a backup of runs.db back, or move it away to start anew.",
    "malformed": "Put a backup of runs.db back, or move it away to start anew.",
}


class Halt(BaseException):
    """This process stops working on runs. Not an `Exception`, so that neither DBOS nor
    a step takes it for an outcome: the work stays pending, for the next launch."""


def open_database(database: str | sa.Engine) -> sa.Engine:
    """An engine for DBOS; one that is given is used as it is.

    Args:
        database: `sqlite:////path/runs.db`, `postgresql://…`, or an engine whose SQLite
            connections use WAL and `isolation_level="IMMEDIATE"`.

    Raises `InvalidInput` for another kind of URL, `MissingExtra` without psycopg.
    """
    if isinstance(database, sa.Engine):
        return database
    try:
        url = sa.make_url(database)
        kind = url.get_backend_name()
    except ArgumentError as error:
        raise InvalidInput(
            f"{database!r} isn't a database URL.",
            "Give sqlite:////path/to/runs.db or postgresql://user:password@host/database.",
        ) from error
    if kind == "sqlite" and url.database:
        engine = sa.create_engine(
            url,
            connect_args={"isolation_level": "IMMEDIATE", "check_same_thread": False},
            pool_size=8,
            max_overflow=56,
        )
        event.listen(engine, "connect", _set_pragmas)
        take_turns(engine, LOCK_WAIT_MS / 1000)
        return engine
    if kind == "postgresql":
        try:
            return sa.create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_size=8,
                max_overflow=24,
                pool_pre_ping=True,
            )
        except ModuleNotFoundError as error:
            raise MissingExtra("psycopg", "postgres") from error
    raise InvalidInput(
        f"Runs can't be kept in {database!r}.",
        "Give the URL of a SQLite file or of a Postgres database.",
    )


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={LOCK_WAIT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


@contextmanager
def translated() -> Generator[None]:
    """Database errors as errors that a user can act on."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig)
        if "disk is full" in text or "No space left" in text:
            raise ResourceExhausted(
                "No space is left for the runs' database.", "Free some space and try again."
            ) from error
        fix = "See that it is reachable and writable, then try again."
        raise Unavailable(
            f"The runs' database can't be used now: {text}.",
            next((told for sign, told in _FIXES.items() if sign in text), fix),
        ) from error


class Tables:
    """Read access to DBOS' documented system tables, beside its own API, where that
    would cost a query per workflow or be recorded as a step."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        schema = None if engine.dialect.name == "sqlite" else SCHEMA
        columns = ("workflow_uuid", "status", "executor_id", "queue_name", "created_at")
        self.status = sa.table("workflow_status", *map(sa.column, columns), schema=schema)
        self.steps = sa.table(
            "operation_outputs",
            *map(sa.column, ("workflow_uuid", "function_id", "function_name", "output")),
            sa.column("started_at_epoch_ms"),
            schema=schema,
        )
        # Made once: making a query takes as long as the database takes to answer it.
        told = self.status.c
        self._statuses = sa.select(
            told.workflow_uuid, told.status, told.executor_id, told.created_at
        ).where(told.workflow_uuid.in_(sa.bindparam("ids", expanding=True)))

    def check_writable(self) -> None:
        """Raises SQLAlchemy's error when another process keeps a SQLite file locked: DBOS
        itself would wait for it without end."""
        if self.engine.dialect.name != "sqlite":
            return
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={_ASKED_WAIT_MS}")
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql("ROLLBACK")
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={LOCK_WAIT_MS}")

    def under_way(self, queue: str) -> Sequence[str]:
        """The workflows of a queue that wait, or were begun and didn't end."""
        table = self.status.c
        query = sa.select(table.workflow_uuid).where(
            table.queue_name == queue, table.status.in_(("ENQUEUED", "PENDING"))
        )
        with self.engine.connect() as connection:
            return [str(name) for name in connection.execute(query).scalars()]

    def statuses(self, ids: Sequence[str]) -> Mapping[str, tuple[str, str | None, int]]:
        """DBOS status, executor and start (ms) of each workflow that exists."""
        with self.engine.connect() as connection:
            rows = connection.execute(self._statuses, {"ids": list(ids)})
            return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def recorded_steps(self, ids: Sequence[str]) -> Sequence[tuple[str, str, str, int]]:
        """Workflow, name, JSON output and start (ms) of recorded steps, in order."""
        table = self.steps.c
        query = (
            sa.select(
                table.workflow_uuid,
                table.function_name,
                table.output,
                table.started_at_epoch_ms,
            )
            .where(table.workflow_uuid.in_(ids), table.output.is_not(None))
            .order_by(table.workflow_uuid, table.function_id)
        )
        with self.engine.connect() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
