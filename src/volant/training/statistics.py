"""Statistics of the rows that a model is trained on, which stay with its version.

Their size is bounded: at most `MOST_COLUMNS` columns, 20 bins or `MOST_VALUES` values each.
The same rows give the same bytes, in whatever order they come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.domain.codec import to_plain
from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.domain.statistics import (
    STATISTICS_FILE,
    ColumnStatistics,
    Histogram,
    NumberStatistics,
    TrainingStatistics,
    ValueCount,
)
from volant.training.columns import coerce, column_of
from volant.training.files import write_over
from volant.training.schema import column_type, target_of

MOST_COLUMNS = 300
MOST_VALUES = 50
LONGEST_VALUE = 64  # characters
_BINS = 20
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# Of a column whose values are no short list, only those are kept that stand in so many
# rows: a value that few rows have may tell who they are about.
_FREQUENT_SHARE, _FREQUENT_ROWS = 0.01, 10
_NUMERIC = (ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.TIMESTAMP)

Numbers = NDArray[np.float64]


def write_statistics(statistics: TrainingStatistics, folder: Path) -> None:
    """Into the model's `folder`, in one step. Raises `ResourceExhausted` on a full disk."""
    body = json.dumps(to_plain(statistics), ensure_ascii=False, allow_nan=False)
    write_over(
        folder / STATISTICS_FILE, lambda draft: draft.write_text(f"{body}\n", encoding="utf-8")
    )


def statistics_of(
    rows: pa.Table, fields: Sequence[Field], target: str, task: str
) -> TrainingStatistics:
    """Of all `rows`: the columns `fields`, which the model takes, and its `target`.

    Of more than `MOST_COLUMNS` columns the first are described.
    """
    described = fields[:MOST_COLUMNS]
    return TrainingStatistics(
        rows=rows.num_rows,
        columns=tuple(_column(rows, field.name, ColumnType(field.type)) for field in described),
        label=_label(rows, target, task),
        left_out=len(fields) - len(described),
    )


def _column(rows: pa.Table, name: str, kind: ColumnType) -> ColumnStatistics:
    column = _plain(rows.column(name))
    if kind is ColumnType.STRING:
        return _texts(name, column)
    raw = column_of(pa.table({name: column}), name, 0)
    values = coerce(raw, kind.value, name)
    if kind is ColumnType.TIMESTAMP:
        values = values[~np.isnat(values)].astype(np.int64) / 1e6
    else:
        values = values[~np.isnan(values)]
    if kind is ColumnType.BOOLEAN:
        return _booleans(name, values, rows.num_rows)
    return _numbers(name, kind, values, rows.num_rows, infinite=_infinite(raw))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without a dictionary, which is another way to store the same values."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def _infinite(raw: NDArray[Any]) -> int:
    return int(np.isinf(raw).sum()) if raw.dtype.kind == "f" else 0


def _numbers(
    name: str, kind: ColumnType, values: Numbers, rows: int, *, infinite: int = 0
) -> ColumnStatistics:
    ordered = np.sort(values + 0.0)  # which makes 0.0 of -0.0
    steps = int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    return ColumnStatistics(
        name,
        kind.value,
        count=len(ordered),
        missing=rows - len(ordered),
        distinct=steps + 1 if len(ordered) else 0,
        infinite=infinite,
        numbers=_of_ordered(ordered, steps + 1) if len(ordered) else None,
    )


def _of_ordered(ordered: Numbers, distinct: int) -> NumberStatistics:
    """Of finite values in ascending order, at least one."""
    low, high = float(ordered[0]), float(ordered[-1])
    # Scaled into [-1, 1] by a power of two, so that neither sums nor squares leave the range
    # of a float64.
    exponent = int(np.frexp(max(abs(low), abs(high)))[1])
    scaled = np.ldexp(ordered, -exponent)
    mean = float(np.ldexp(scaled.mean(), exponent))
    return NumberStatistics(
        min=low,
        max=high,
        mean=min(max(mean, low), high),
        std=float(np.ldexp(scaled.std(), exponent)),
        quantiles={f"p{p}": float(ordered[_rank(len(ordered), p, 100)]) for p in _PERCENTILES},
        histogram=_histogram(ordered, distinct),
    )


def _rank(count: int, share: int, of: int) -> int:
    """The place of the first of `count` values that `share`/`of` of them don't exceed."""
    return -(-count * share // of) - 1


def _histogram(ordered: Numbers, distinct: int) -> Histogram:
    """About as many rows in each bin; a bin for each value where there are few."""
    edges = ordered if distinct <= _BINS else ordered[
        [_rank(len(ordered), i, _BINS) for i in range(1, _BINS + 1)]
    ]  # fmt: skip
    upper = np.unique(edges)
    below = np.searchsorted(ordered, upper, side="right")
    return Histogram(tuple(upper.tolist()), tuple(np.diff(below, prepend=0).tolist()))


def _booleans(name: str, values: Numbers, rows: int) -> ColumnStatistics:
    true = int(np.count_nonzero(values))
    counted = [(value, count) for value, count in ((False, len(values) - true), (True, true))]
    kept = [(value, count) for value, count in counted if count]
    return ColumnStatistics(
        name,
        ColumnType.BOOLEAN.value,
        count=len(values),
        missing=rows - len(values),
        distinct=len(kept),
        values=_ranked(kept),
    )


def _texts(name: str, column: pa.ChunkedArray) -> ColumnStatistics:
    counted = column.cast(pa.large_string()).value_counts()
    values, counts = counted.field("values"), np.asarray(counted.field("counts"))
    known = np.array(values.is_valid())
    empty = values.index("").as_py()
    if empty >= 0:
        known[empty] = False
    values, counts = values.filter(pa.array(known)), counts[known]
    count = int(counts.sum())
    short_list = len(counts) <= MOST_VALUES and count >= 2 * len(counts)
    least = 1 if short_list else max(_FREQUENT_ROWS, math.ceil(_FREQUENT_SHARE * count))
    often = counts >= least
    kept = zip(values.filter(pa.array(often)).to_pylist(), counts[often].tolist(), strict=True)
    return ColumnStatistics(
        name,
        ColumnType.STRING.value,
        count=count,
        missing=len(column) - count,
        distinct=len(counts),
        values=_ranked(list(kept)),
    )


def _label(rows: pa.Table, target: str, task: str) -> ColumnStatistics:
    """The classes with their rows, or the numbers to predict. Classes are no secret: the
    model answers them."""
    kind = column_type(rows.column(target).type) or ColumnType.NUMBER
    column = _plain(rows.column(target))
    values = target_of(pa.table({target: column}), target, task)
    if task != "classification":
        values = values[np.isfinite(values)]
        number = ColumnType.INTEGER if kind is ColumnType.INTEGER else ColumnType.NUMBER
        return _numbers(target, number, values, rows.num_rows)
    counted = pa.array(values).value_counts()
    pairs = [(one["values"], one["counts"]) for one in counted.to_pylist()]
    known = [(value, count) for value, count in pairs if value is not None]
    count = sum(each for _, each in known)
    return ColumnStatistics(
        target,
        ColumnType.INTEGER.value if kind is ColumnType.NUMBER else kind.value,
        count=count,
        missing=rows.num_rows - count,
        distinct=len(known),
        values=_ranked(known),
    )


def _ranked(counted: Sequence[tuple[Any, int]]) -> tuple[ValueCount, ...]:
    """The most frequent values, of equally frequent ones the smaller first. A long text is
    left out whole: a part of it would be another value."""
    order = sorted(counted, key=lambda one: (-one[1], one[0]))[:MOST_VALUES]
    return tuple(
        ValueCount(value, count)
        for value, count in order
        if not isinstance(value, str) or len(value) <= LONGEST_VALUE
    )


__all__ = ["LONGEST_VALUE", "MOST_COLUMNS", "MOST_VALUES", "statistics_of", "write_statistics"]
