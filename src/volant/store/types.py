"""Column types that hold domain values the same way on SQLite and Postgres."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import orjson
import sqlalchemy as sa

from volant.domain.codec import decoder, to_plain
from volant.errors import Conflict, InvalidInput


def canonical(value: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, UTF-8; the same value, the same text."""
    return _json(value, orjson.OPT_SORT_KEYS)


def _json(value: Any, option: int = 0) -> str:
    try:
        return orjson.dumps(to_plain(value), option=option).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidInput(
            f"A value can't be stored as JSON: {error}.",
            "Keep integers within 64 bits and text valid Unicode.",
        ) from error


class Stored(sa.types.TypeDecorator[Any]):
    """A domain value of type `kind` as canonical JSON in a text column; `ordered`: with the
    keys in the order that the value has them."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any, *, ordered: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.ordered = ordered

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        return _json(value) if self.ordered else canonical(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        try:
            return decoder(self.kind)(orjson.loads(value), getattr(self.kind, "__name__", "value"))
        except (orjson.JSONDecodeError, InvalidInput) as error:
            raise Conflict(
                f"A stored row can't be read by this version of Volant: {error}",
                "Install the version that wrote it, or restore the database from a backup.",
                code="unreadable_row",
            ) from error


class Member(sa.types.TypeDecorator[Any]):
    """A `StrEnum` by its value. An unknown one is an unreadable row."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else decoder(self.kind)(value, self.kind.__name__)


class Rank(sa.types.TypeDecorator[Any]):
    """An `IntEnum` by its number."""

    impl = sa.Integer
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> int | None:
        return None if value is None else int(self.kind(value).value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else decoder(self.kind)(value, self.kind.__name__)


class Utc(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, exact to the microsecond. SQLite keeps no zone: it gets the
    naive UTC time, in a text whose order is the order in time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise InvalidInput(
                f"{value.isoformat()} has no time zone.", "Give the time in UTC, with its zone."
            )
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Number(sa.types.TypeDecorator[float]):
    """A float64, NaN and infinities included. SQLite turns NaN into NULL, so NULL means
    NaN on both databases."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: sa.Dialect) -> float:
        return math.nan if value is None else float(value)


# SQLite numbers rows by itself only when the column's type is spelled INTEGER.
Sequence64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
