"""Engines and transactions.

SQLite: WAL, so readers and the one writer don't wait for each other; a write
transaction takes the lock when it begins (`BEGIN IMMEDIATE`), because one that reads
first and upgrades later can only fail when somebody wrote in between. Postgres: READ
COMMITTED with row locks where a number is given out.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from volant.domain.event import Event
from volant.errors import InvalidInput, MissingExtra, Unavailable
from volant.store.errors import BUSY_TIMEOUT_S, busy, translate
from volant.store.prepared import Prepared, insert_for

_WRITE = "volant_write"

log = logging.getLogger(__name__)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path.absolute()}"


def open_engine(url: str) -> sa.Engine:
    """An engine for our own tables; connects to nothing yet.

    Args:
        url: `sqlite:///FILE` or `postgresql://…` (psycopg 3).

    Raises `InvalidInput` for any other URL, `MissingExtra` when psycopg isn't there.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite_engine(parsed)
    else:
        engine = _postgres_engine(parsed)
    sa_event.listen(engine, "handle_error", _translator(parsed))
    return engine


def _parse(url: str) -> URL:
    if url.startswith("postgres://"):
        url = "postgresql://" + url.removeprefix("postgres://")
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise InvalidInput(
            f"{url!r} isn't a database URL.",
            "Give sqlite:////path/to/file.db or postgresql://user:password@host/database.",
        ) from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidInput(
            f"{backend!r} databases aren't supported.", "Give a sqlite: or a postgresql: URL."
        )
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidInput(
            f"{url!r} is a database in memory, and Volant's threads can't share that.",
            "Give a file: sqlite:////path/to/file.db",
        )
    return parsed


def _sqlite_engine(url: URL) -> sa.Engine:
    # The driver begins no transaction by itself (isolation_level None); `_begin` does.
    engine = sa.create_engine(
        url,
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_S},
        pool_size=8,
        max_overflow=56,
        pool_timeout=BUSY_TIMEOUT_S,
    )
    sa_event.listen(engine, "connect", _set_pragmas)
    sa_event.listen(engine, "begin", _begin)
    return engine


def _postgres_engine(url: URL) -> sa.Engine:
    options = f"-c timezone=UTC -c lock_timeout={int(BUSY_TIMEOUT_S * 1000)}"
    try:
        return sa.create_engine(
            url,
            connect_args={"options": options, "application_name": "volant"},
            pool_size=8,
            max_overflow=24,
            pool_timeout=BUSY_TIMEOUT_S,
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra("psycopg", "postgres") from error


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite doesn't wait for the lock this needs, so two first openers must."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not locked or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    except sqlite3.Error as error:
        raise translate(error, connection.engine.url) or error from None


def _translator(url: URL) -> Callable[[ExceptionContext], BaseException | None]:
    def handle(context: ExceptionContext) -> BaseException | None:
        return translate(context.original_exception, url)

    return handle


class Write:
    """An open write transaction, and the events that will be told after its commit."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.events: list[Event] = []

    def execute(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        """Execute one statement, for each of `rows` when they are given."""
        return cast("sa.CursorResult[Any]", self.connection.execute(statement, rows))

    def changed(self, statement: sa.Executable) -> bool:
        """Execute a guarded statement; whether it changed a row."""
        return self.execute(statement).rowcount > 0

    def insert_new(self, table: sa.Table, values: dict[str, Any]) -> bool:
        """Insert a row unless it would break a unique constraint; whether it did."""
        return _new(table, tuple(values)).run(self.connection, [values]) > 0

    def insert(self, table: sa.Table, *rows: Mapping[str, Any]) -> None:
        """Insert rows of plain values, all with the same columns."""
        if rows:
            _plain(table, tuple(rows[0])).run(self.connection, rows)

    def upsert(
        self, table: sa.Table, rows: Sequence[Mapping[str, Any]], changed: Iterable[str]
    ) -> None:
        """Insert rows of plain values, all with the same columns; where there is one of that
        primary key, set its columns `changed` instead."""
        if rows:
            _changing(table, tuple(rows[0]), tuple(changed)).run(self.connection, rows)


@cache
def _new(table: sa.Table, names: tuple[str, ...]) -> Prepared:
    return Prepared(lambda dialect: _insert(table, names, dialect).on_conflict_do_nothing())


@cache
def _plain(table: sa.Table, names: tuple[str, ...]) -> Prepared:
    return Prepared(lambda dialect: _insert(table, names, dialect))


@cache
def _changing(table: sa.Table, names: tuple[str, ...], changed: tuple[str, ...]) -> Prepared:
    def build(dialect: str) -> Any:
        statement = _insert(table, names, dialect)
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: statement.excluded[name] for name in changed},
        )

    return Prepared(build)


def _insert(table: sa.Table, names: tuple[str, ...], dialect: str) -> Any:
    return insert_for(dialect)(table).values({name: sa.bindparam(name) for name in names})


class Database:
    """Transactions over one engine. Threads may share it; forks may not."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.url = self.engine.url
        self._writing = self.engine.execution_options(**{_WRITE: True})
        # SQLite's own waiting sleeps up to 100 ms and is unfair; threads of this process
        # queue here instead, and only other processes meet the busy handler.
        self._turn = threading.Lock() if self.is_sqlite else None
        self._listeners: list[Callable[[Event], None]] = []

    @property
    def location(self) -> str:
        """The file, or the URL without its password."""
        if self.is_sqlite:
            return str(self.url.database)
        return self.url.render_as_string(hide_password=True)

    def on_event(self, callback: Callable[[Event], None]) -> None:
        """Call `callback` after each commit, in the committing thread, with each event
        that was stored. It must be quick; what it raises is logged and goes no further."""
        self._listeners.append(callback)

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A consistent view; takes no write lock."""
        with self._connected(self.engine) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[Write]:
        """One transaction: all of it is stored when the block ends, or nothing."""
        if self._turn is not None and not self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            raise busy(self.location)
        try:
            with self._connected(self._writing) as connection, connection.begin():
                work = Write(connection)
                yield work
        finally:
            if self._turn is not None:
                self._turn.release()
        for event in work.events:
            self._tell(event)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _connected(self, engine: sa.Engine) -> Generator[sa.Connection]:
        try:
            connection = engine.connect()
        except PoolTimeout as error:
            raise Unavailable(
                f"All connections to the database {self.location} are in use.",
                "Try again in a moment, or run fewer workers.",
                code="database_busy",
            ) from error
        with connection:
            yield connection

    def _tell(self, event: Event) -> None:
        for callback in tuple(self._listeners):
            try:
                callback(event)
            except Exception:
                log.exception("a listener failed on event %s", event.id)
