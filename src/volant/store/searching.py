"""Comparisons and orders to SQL expressions. Values are always bound, never text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from volant.domain.query import Comparison, Order
from volant.errors import InvalidInput

Expression = sa.ColumnElement[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "IN": lambda column, value: column.in_(value),
    "NOT IN": lambda column, value: column.not_in(value),
}


def compared(column: Any, comparison: Comparison, sqlite: bool) -> Expression:
    """`column op value`. LIKE minds case and ILIKE doesn't, on both databases."""
    op, value = comparison.op, comparison.value
    if op in ("LIKE", "ILIKE"):
        if op == "ILIKE":
            return sa.func.lower(column).like(str(value).lower())
        # SQLite's LIKE minds no case; GLOB does, with other wildcards.
        return column.op("GLOB")(_glob(str(value))) if sqlite else column.like(value)
    return _SIGNS[op](column, value)


def _glob(pattern: str) -> str:
    signs = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    return "".join(signs.get(sign, sign) for sign in pattern)


def compared_time(column: Any, comparison: Comparison) -> Expression:
    """A time column against milliseconds since 1970."""
    value = comparison.value
    if not isinstance(value, int | float):
        raise InvalidInput(f"{comparison.key} is compared with a number of milliseconds.", "")
    try:
        return _SIGNS[comparison.op](column, _EPOCH + timedelta(milliseconds=value))
    except OverflowError:
        # Beyond any time that can be stored: all rows are before or after it.
        after = (value > 0) == (comparison.op in ("<", "<=", "!="))
        return sa.true() if after and comparison.op != "=" else sa.false()


def in_pairs(
    table: sa.Table, owner: Any, comparison: Comparison, sqlite: bool, *, few: bool = False
) -> Expression:
    """Whether the owner has the key with such a value (or has it at all). `few`: other
    conditions leave few owners, so that each is better looked at by itself."""
    own = next(iter(table.primary_key.columns))
    if few and comparison.op not in ("IS NULL", "IS NOT NULL"):
        mine = sa.and_(own == owner, table.c.key == comparison.key)
        return sa.exists().where(mine, compared(table.c.value, comparison, sqlite))
    found = sa.select(own).where(table.c.key == comparison.key)
    if comparison.op == "IS NULL":
        return owner.not_in(found)
    if comparison.op == "IS NOT NULL":
        return owner.in_(found)
    return owner.in_(found.where(compared(table.c.value, comparison, sqlite)))


def ordered(
    statement: Any,
    orders: Sequence[Order],
    attributes: Mapping[str, Any],
    tables: Mapping[str, sa.Table],
    owner: Any,
) -> sa.Select[Any]:
    """The select `statement` by `orders`: rows without a value come last, NaN before them."""
    keys: list[Any] = []
    for order in orders:
        if order.entity == "attribute":
            column = attributes[order.key]
        else:
            beside = tables[order.entity].alias()
            own = beside.c[next(iter(tables[order.entity].primary_key.columns)).name]
            statement = statement.outerjoin(
                beside, sa.and_(own == owner, beside.c.key == order.key)
            )
            column = beside.c.value
            keys.append(sa.case((own.is_(None), 2), (column.is_(None), 1), else_=0))
        keys.append(sa.nulls_last(column.desc() if order.descending else column.asc()))
    return statement.order_by(*keys)


def page_of(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """A page, from one row more than it holds, and whether there are more."""
    return rows[:limit], len(rows) > limit
