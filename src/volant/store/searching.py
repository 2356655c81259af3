"""Comparisons and orders to SQL expressions. Values are always bound, never text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from volant.domain.query import Comparison, Order
from volant.errors import InvalidInput

Expression = sa.ColumnElement[Any]
# A table whose rows are an owner's keys and values, or what has for one order's key the columns
# `owner`, `key` and `value`, with one row for each owner.
Beside = sa.Table | Callable[[Order], sa.FromClause]

_MOST_JOINS = 50  # SQLite joins at most 64 tables
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
    tables: Mapping[str, Beside],
    owner: Any,
) -> sa.Select[Any]:
    """The select `statement` by `orders`: rows without a value come last, NaN before them.
    Raises `InvalidInput` for an entity that has no order here."""
    keys: list[Any] = []
    if sum(order.entity != "attribute" for order in orders) > _MOST_JOINS:
        raise InvalidInput(
            f"The order_by has more than {_MOST_JOINS} metrics, params and tags.",
            "Order by fewer.",
            code="search_order",
        )
    for order in orders:
        if order.entity == "attribute":
            column = attributes[order.key]
        else:
            beside, own = _beside(order, tables)
            statement = statement.outerjoin(
                beside, sa.and_(own == owner, beside.c.key == order.key)
            )
            column = beside.c.value
            keys.append(sa.case((own.is_(None), 2), (column.is_(None), 1), else_=0))
        keys.append(sa.nulls_last(column.desc() if order.descending else column.asc()))
    return statement.order_by(*keys)


def _beside(order: Order, tables: Mapping[str, Beside]) -> tuple[sa.FromClause, Expression]:
    """What the order's values stand in, and the column of their owner."""
    found = tables.get(order.entity)
    if found is None:
        raise InvalidInput(
            f"Invalid order_by: {order.entity} {order.key[:200]!r} can only be filtered by.",
            f"Order by one of: {', '.join(['attribute', *tables])}.",
            code="search_order",
        )
    if isinstance(found, sa.Table):
        rows = found.alias()
        return rows, rows.c[next(iter(found.primary_key.columns)).name]
    rows = found(order)
    return rows, rows.c.owner


def page_of(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """A page, from one row more than it holds, and whether there are more."""
    return rows[:limit], len(rows) > limit
