"""Statements compiled once: building one, and finding its text among those compiled, takes
longer than SQLite needs to answer it.

For what a client does by the thousand. A statement's parameters are all named, each with one
value (no lists), and rows that are written have all of them; types convert as everywhere else,
and the driver's errors become ours.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from volant.store.errors import translate

_Convert = Callable[[Any], Any]


class Prepared:
    """One statement. `build` makes it for the name of a dialect, at the first use on it."""

    def __init__(self, build: Callable[[str], sa.Executable]) -> None:
        self._build = build
        self._ready: dict[str, _Ready] = {}

    def rows(self, connection: sa.Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Execute a SELECT; all its rows."""
        ready = self._on(connection)
        with _cursor(connection) as cursor:
            cursor.execute(ready.text, ready.bound(values))
            return ready.converted(cursor.fetchall(), cursor.description)

    def run(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> int:
        """Execute what gives no rows for each of `rows`; how many it changed in all."""
        ready = self._on(connection)
        with _cursor(connection) as cursor:
            bound = ready.all_bound(rows)
            if len(bound) == 1:
                cursor.execute(ready.text, bound[0])
            else:
                cursor.executemany(ready.text, bound)
            return int(cursor.rowcount)

    def _on(self, connection: sa.Connection) -> _Ready:
        ready = self._ready.get(connection.dialect.name)
        if ready is None:
            dialect = connection.dialect
            ready = self._ready[dialect.name] = _Ready(self._build(dialect.name), dialect)
        return ready


def found_by(found: Any, order: Any = None, **own: sa.ColumnElement[Any]) -> Prepared:
    """What the SELECT `found` has where each column of `own` has the value given by its name."""
    return Prepared(
        lambda _: found.where(
            *(column == sa.bindparam(name) for name, column in own.items())
        ).order_by(order)
    )


@contextmanager
def _cursor(connection: sa.Connection) -> Generator[Any]:
    """The driver's own cursor; its errors become ours."""
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except Exception as error:
        told = translate(error, connection.engine.url)
        if told is None:
            raise
        raise told from error
    finally:
        cursor.close()


def insert_for(dialect: str) -> Any:
    """The dialect's `insert`, which knows ON CONFLICT."""
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return lambda table: sqlite_insert(table).inline()
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return lambda table: postgres_insert(table).inline()


class _Ready:
    """A statement's text for one dialect, and the ways of its values in and out."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        binds: Mapping[str, Any] = compiled.binds
        names: Sequence[str] = compiled.positiontup or list(binds)
        # the name, what converts its value, the value where none is given
        self._in: list[tuple[str, _Convert | None, Any]] = [
            (
                name,
                binds[name].type.dialect_impl(dialect).bind_processor(dialect),
                binds[name].effective_value,
            )
            for name in names
        ]
        self._positional = bool(compiled.positional)
        self._kinds = [
            column.type.dialect_impl(dialect)
            for column in getattr(statement, "selected_columns", ())
        ]
        self._dialect = dialect
        self._out: list[tuple[int, _Convert]] | None = None

    def bound(self, values: Mapping[str, Any]) -> Any:
        """What the driver is given for these values."""
        found: list[Any] = []
        for name, convert, usual in self._in:
            value = values.get(name, usual)
            found.append(value if convert is None else convert(value))
        if self._positional:
            return tuple(found)
        return {name: value for (name, _, _), value in zip(self._in, found, strict=True)}

    def all_bound(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """`bound` for each row."""
        if not self._positional or len(self._in) < 2:
            return [self.bound(row) for row in rows]
        # A thousand rows of plain values: picked by one call each.
        pick = itemgetter(*(name for name, _, _ in self._in))
        converts = [(i, convert) for i, (_, convert, _) in enumerate(self._in) if convert]
        found: list[Any] = []
        for row in rows:
            values = list(pick(row))
            for i, convert in converts:
                values[i] = convert(values[i])
            found.append(values)
        return found

    def converted(self, rows: Sequence[Sequence[Any]], told: Any) -> list[tuple[Any, ...]]:
        """Rows of the driver as those of the statement; `told` is what the driver says of its
        columns, the same each time."""
        if self._out is None:
            self._out = [
                (i, convert)
                for i, kind in enumerate(self._kinds)
                if (convert := kind.result_processor(self._dialect, told[i][1])) is not None
            ]
        if not self._out:
            return [tuple(row) for row in rows]
        found: list[tuple[Any, ...]] = []
        for row in rows:
            values = list(row)
            for i, convert in self._out:
                values[i] = convert(values[i])
            found.append(tuple(values))
        return found
