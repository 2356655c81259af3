"""Records to rows and back, and pages of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from volant.errors import InvalidInput, NotFound
from volant.yamltext.problems import nearest

T = TypeVar("T")

_SHOW = {
    "dataset": "`volant data list` shows the datasets.",
    "dataset version": "`volant data versions NAME` shows them.",
    "loop": "`volant status` shows the loops; `volant apply` makes one.",
    "run": "`volant runs` shows the runs.",
    "model version": "`volant models` shows the models and their versions.",
    "deployment": "`volant deployments` lists them.",
    "codeset": "`volant codeset list` shows the codesets.",
    "project": "`volant project list` shows the projects.",
    "application": "`volant application list` shows the applications.",
    "runnable": "`volant runnable list` shows the runnables.",
    "extension": "`volant extension list` shows the extensions.",
    "decision": "`volant why NAME` shows a loop's decisions.",
    "workflow": "`volant workflow list` shows the workflows.",
}


def missing(noun: str, name: object, known: Iterable[str] = ()) -> NotFound:
    """The error for a `noun` that isn't stored; names the one of `known` that it is like."""
    near = nearest(str(name), known)
    show = _SHOW.get(noun, "Check its name.")
    return NotFound(
        f"There is no {noun} {name!r}.",
        f"Did you mean {near}? {show}" if near else show,
        details={"noun": noun, "name": str(name)},
    )


def columns(table: sa.Table) -> list[sa.Column[Any]]:
    """Every column that is a field of the record; `seq` is the store's own."""
    return [column for column in table.c if column.name != "seq"]


def values(table: sa.Table, record: object, **others: Any) -> dict[str, Any]:
    """The row for `record`; `others` win over its fields."""
    return {
        column.name: others[column.name] if column.name in others else getattr(record, column.name)
        for column in columns(table)
    }


def record(kind: type[T], row: sa.RowMapping) -> T:
    """The record that a row of `columns(table)` holds."""
    return kind(**row)


def one(connection: sa.Connection, statement: sa.Select[Any]) -> sa.RowMapping | None:
    """The only row, or None."""
    return connection.execute(statement).mappings().one_or_none()


def several(connection: sa.Connection, kind: type[T], statement: sa.Select[Any]) -> list[T]:
    """The records of all rows."""
    return [record(kind, row) for row in connection.execute(statement).mappings()]


def page(
    connection: sa.Connection,
    statement: sa.Select[Any],
    cursor: sa.Column[int],
    limit: int,
    before: str | None,
) -> tuple[Sequence[sa.RowMapping], str | None]:
    """Rows newest first by `cursor`, which must be unique in what `statement` selects;
    and the cursor of the next page, None when this is the last one.

    Raises `InvalidInput` for a limit below 1 or a cursor that no page gave.
    """
    if limit < 1:
        raise InvalidInput(f"A page can't have {limit} rows.", "Ask for at least 1.")
    statement = statement.add_columns(cursor.label("page_cursor"))
    if before is not None:
        if not (before.isascii() and before.isdecimal() and len(before) < 19):
            raise InvalidInput(
                f"{before!r} isn't a page's cursor.", "Give the `next` of the page before."
            )
        statement = statement.where(cursor < int(before))
    # One row more than asked for tells whether there is a next page.
    rows = connection.execute(statement.order_by(cursor.desc()).limit(limit + 1)).mappings().all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], str(rows[limit - 1]["page_cursor"])


def paged(kind: type[T], rows: Sequence[sa.RowMapping]) -> list[T]:
    """The records of a page's rows."""
    return [kind(**{key: row[key] for key in row if key != "page_cursor"}) for row in rows]
