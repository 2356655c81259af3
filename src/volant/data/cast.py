"""Values of a delivered column into a contract's type, failures marked and not raised.

What counts as what, for text:

- missing: an empty value; and, for every type but string, any of `NULLS` in any case.
- integer: digits with a sign or none, within 64 bits; also `5.0`, `5e3` (as programs
  write integers beside missing ones) while it is whole and below 2**53.
- number: decimal or scientific notation with a point; never infinite.
- boolean: true/false, yes/no, t/f, y/n, on/off, 1/0, in any case.
- timestamp: ISO 8601 with a date; without a zone it counts as UTC.
- string: itself, spaces included.

Spaces around a value count for strings only. Typed columns (Parquet, JSON) follow the
same sense: 0 and 1 are booleans, whole numbers are integers, no number is a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.data.arrow import mask, pc
from volant.data.filerows import UTC_TIME
from volant.domain.contract import ColumnType

NULLS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?")
INTEGER = r"^[+-]?\d+$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
TIMESTAMP = (
    r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}([.,]\d+)?)?)?( ?(Z|z|[+-]\d{2}(:?\d{2})?))?)?$"
)

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.STRING: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIMESTAMP: UTC_TIME,
}

# Made here, because the first array made of Python values imports pandas where it is
# installed: once in the zygote rather than in each of its forks.
_NULL_SET = pa.array(NULLS, pa.string())
_TRUE = pa.array(("true", "yes", "t", "y", "on", "1"), pa.string())
_FALSE = pa.array(("false", "no", "f", "n", "off", "0"), pa.string())
_EXACT = float(2**53)  # above it, neighbouring integers share a double

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cast:
    """`values` in the type asked for, null where missing or failed; `failed` marks
    values that were there and don't fit, None when all do."""

    values: pa.ChunkedArray
    failed: Flags | None


def cast(column: pa.ChunkedArray, kind: ColumnType) -> Cast:
    """`column` (text, int64, double, bool or timestamp) as `kind`."""
    if kind is ColumnType.STRING:
        return _to_string(column)
    if pa.types.is_string(column.type):
        return _FROM_TEXT[kind](column)
    if column.type == ARROW_TYPES[kind]:
        return _finite(column) if kind is ColumnType.NUMBER else Cast(column, None)
    if kind is ColumnType.TIMESTAMP or pa.types.is_timestamp(column.type):
        return _nothing(column, kind)
    return _between(column, kind)


def _between(column: pa.ChunkedArray, kind: ColumnType) -> Cast:
    """Integers, doubles and booleans into one another."""
    if pa.types.is_boolean(column.type):
        return Cast(pc.cast(pc.cast(column, pa.int64()), ARROW_TYPES[kind]), None)
    if kind is ColumnType.NUMBER:
        return Cast(pc.cast(column, pa.float64(), safe=False), None)
    return _whole(column) if kind is ColumnType.INTEGER else _zero_one(column)


def missing(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where text stands for nothing: null, empty, or one of `NULLS`. Never null itself."""
    folded = pc.ascii_lower(pc.ascii_trim_whitespace(text))
    return pc.or_(pc.is_null(text), pc.is_in(folded, value_set=_NULL_SET))


def _nothing(column: pa.ChunkedArray, kind: ColumnType) -> Cast:
    values = pa.chunked_array([pa.nulls(len(column), ARROW_TYPES[kind])])
    return Cast(values, _flags(pc.is_valid(column)))


def _flags(values: Any) -> Flags | None:
    found = mask(values)
    return found if found.any() else None


def _finite(column: pa.ChunkedArray) -> Cast:
    """NaN is missing, infinity fails."""
    if not pc.any(pc.invert(pc.is_finite(column))).as_py():
        return Cast(column, None)
    infinite = _flags(pc.is_inf(column))
    return Cast(pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type)), infinite)


def _whole(column: pa.ChunkedArray) -> Cast:
    """Doubles as integers."""
    checked = _finite(column)
    inside = pc.less(pc.abs(checked.values), _EXACT)
    fits = pc.and_(inside, pc.equal(pc.floor(checked.values), checked.values))
    failed = mask(pc.invert(fits))
    if checked.failed is not None:
        failed = failed | checked.failed
    kept = pc.if_else(fits, checked.values, pa.scalar(None, pa.float64()))
    return Cast(pc.cast(kept, pa.int64()), failed if failed.any() else None)


def _zero_one(column: pa.ChunkedArray) -> Cast:
    values = pc.cast(column, pa.float64(), safe=False)
    fits = pc.fill_null(pc.or_(pc.equal(values, 0.0), pc.equal(values, 1.0)), False)
    there = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        there = pc.and_(there, pc.invert(pc.is_nan(column)))
    kept = pc.if_else(fits, pc.equal(values, 1.0), pa.scalar(None, pa.bool_()))
    return Cast(kept, _flags(pc.and_(there, pc.invert(fits))))


def _to_string(column: pa.ChunkedArray) -> Cast:
    if pa.types.is_timestamp(column.type):
        return Cast(pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ"), None)
    text = column if pa.types.is_string(column.type) else pc.cast(column, pa.string())
    empty = pc.equal(text, "")
    if pc.any(empty).as_py():
        text = pc.if_else(empty, pa.scalar(None, pa.string()), text)
    return Cast(text, None)


def _number(column: pa.ChunkedArray) -> Cast:
    try:
        return _finite(pc.cast(column, pa.float64()))
    except pa.ArrowInvalid:
        pass
    text = pc.ascii_trim_whitespace(column)
    fits = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    failed = mask(pc.invert(pc.or_(fits, missing(column))))
    parsed = _finite(pc.cast(_only(text, fits), pa.float64()))
    if parsed.failed is not None:  # 1e999
        failed = failed | parsed.failed
    return Cast(parsed.values, failed if failed.any() else None)


def _integer(column: pa.ChunkedArray) -> Cast:
    plain = pc.match_substring_regex(column, r"^-?\d{1,18}$")
    if pc.all(plain, skip_nulls=True, min_count=0).as_py():
        return Cast(pc.cast(column, pa.int64()), None)
    text = pc.ascii_trim_whitespace(column)
    short = pc.fill_null(pc.match_substring_regex(text, r"^[+-]?\d{1,18}$"), False)
    unsigned = pc.replace_substring_regex(_only(text, short), pattern=r"^\+", replacement="")
    values = pc.cast(unsigned, pa.int64())
    rest = _only(text, pc.invert(pc.or_(short, missing(column))))
    if rest.null_count == len(rest):
        return Cast(values, None)
    # The long ones one by one: 64 bits hold some numbers of 19 digits and not others.
    digits = pc.fill_null(pc.match_substring_regex(rest, INTEGER), False)
    long = pa.array([_int64(one) for one in _only(rest, digits).to_pylist()], pa.int64())
    as_number = _number(_only(rest, pc.invert(digits)))
    whole = _whole(as_number.values)
    result = pc.coalesce(values, long, whole.values)
    return Cast(result, _flags(pc.and_(pc.is_valid(rest), pc.is_null(result))))


def _int64(text: str | None) -> int | None:
    value = None if text is None else int(text[:30])
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _boolean(column: pa.ChunkedArray) -> Cast:
    text = pc.ascii_lower(pc.ascii_trim_whitespace(column))
    yes = pc.is_in(text, value_set=_TRUE)
    known = pc.or_(yes, pc.is_in(text, value_set=_FALSE))
    values = pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
    return Cast(values, _flags(pc.invert(pc.or_(known, missing(column)))))


def _timestamp(column: pa.ChunkedArray) -> Cast:
    for kind in (UTC_TIME, pa.timestamp("us")):
        try:
            return Cast(pc.cast(pc.cast(column, kind), UTC_TIME), None)
        except pa.ArrowInvalid:  # zones here and there, more digits, or no time at all
            continue
    text = pc.ascii_trim_whitespace(column)
    fits = pc.fill_null(pc.match_substring_regex(text, TIMESTAMP), False)
    values = pa.array([_time(one) for one in _only(text, fits).to_pylist()], UTC_TIME)
    there = pc.invert(missing(column))
    return Cast(pa.chunked_array([values]), _flags(pc.and_(there, pc.is_null(values))))


def _time(text: str | None) -> datetime | None:
    try:
        time = None if text is None else datetime.fromisoformat(text.replace(" +", "+"))
    except ValueError:
        return None
    if time is None or time.tzinfo is None:
        return time and time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:  # year 1 or 9999, and a zone that leads out of it
        return None


def _only(text: pa.ChunkedArray, where: Any) -> pa.ChunkedArray:
    return pc.if_else(where, text, pa.scalar(None, pa.string()))


_FROM_TEXT = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIMESTAMP: _timestamp,
}
