"""What reading a delivered file gives, whatever its format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.data.arrow import pc
from volant.errors import InvalidInput

Indexes = NDArray[np.int64]

UTC_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that can't be one of the table's: `line` is where it begins, from 1."""

    line: int
    raw: str
    reason: str


@dataclass(frozen=True)
class FileRows:
    """A file's rows.

    `table` holds text, or where the file has types of its own: int64, double, bool,
    timestamp[us, UTC]. `lines` gives for row indexes of `table` their numbers in the
    file (lines, or rows for a format without lines), `raws` gives them as they came.
    """

    name: str
    table: pa.Table
    broken: tuple[BrokenRow, ...]
    warnings: tuple[str, ...]
    lines: Callable[[Indexes], list[int]]
    raws: Callable[[Indexes], list[str]]


def json_rows(table: pa.Table, indexes: Indexes) -> list[str]:
    """Rows as JSON objects of column and value."""
    taken = table.take(pa.array(indexes))
    return [json.dumps(json_value(row), ensure_ascii=False) for row in taken.to_pylist()]


def json_value(value: Any) -> Any:
    """`value` with null for NaN, text for infinity, and times as ISO 8601."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def check_names(names: Sequence[str], file: str) -> None:
    """Raises `InvalidInput` for a column without a name and for a name given twice."""
    for index, name in enumerate(names):
        if not name:
            raise InvalidInput(
                f"Column {index + 1} of {file} has no name.",
                "Give it one in the header (or export the data without its index column).",
                code="column_unnamed",
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        where = [str(index + 1) for index, name in enumerate(names) if name == twice]
        raise InvalidInput(
            f"{file} has {len(where)} columns named {twice!r} (number {', '.join(where)}).",
            "Give each column a name of its own.",
            code="column_duplicated",
        )


def plain_column(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    """A typed column as text, int64, double, bool or timestamp[us, UTC].

    Raises `InvalidInput` for lists, structs, binary and the like.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain_column(column.cast(kind.value_type), name, file)
    target = _plain_type(kind)
    if target is None:
        raise InvalidInput(
            f"Column {name!r} of {file} holds {kind}, which is no column type here.",
            "Turn it into numbers, text, booleans or timestamps, or leave it out.",
            code="column_type",
        )
    if kind == target:
        return column
    if kind == pa.uint64() and pc.any(pc.greater(column, (1 << 63) - 1)).as_py():
        target = pa.string()
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us"), safe=False)
    return column.cast(target, safe=False)


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    types = pa.types
    for matches, target in (
        (types.is_boolean, pa.bool_()),
        (types.is_integer, pa.int64()),
        (types.is_floating, pa.float64()),
        (types.is_decimal, pa.float64()),
        (types.is_timestamp, UTC_TIME),
        (types.is_date, UTC_TIME),
        (types.is_time, pa.string()),
        (types.is_null, pa.string()),
        (types.is_string, pa.string()),
        (types.is_large_string, pa.string()),
        (types.is_string_view, pa.string()),
    ):
        if matches(kind):
            return target
    return None
