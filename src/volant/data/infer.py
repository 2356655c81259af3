"""A contract read off a first delivery.

A first delivery has broken cells too, and they must not become the rule. So a rule is
taken from the mass of a column, and what lies outside it is a violation:

| rule      | is inferred when                                                               |
|-----------|--------------------------------------------------------------------------------|
| type      | at least 95 % of the values that are there parse; tried in the order boolean   |
|           | (true/false), integer, number, timestamp; else string. Digits with leading     |
|           | zeros (post codes) and integers above 64 bits are strings.                     |
| nullable  | more than a few rows have no value                                             |
| min, max  | at least 20 numbers that aren't an identifier or a counter. The central 90 %   |
|           | (5th to 95th percentile) is widened by ten times its width to either side, and |
|           | upwards, where all of it is positive, also to q50·(q95/q50)^4, three more      |
|           | such steps in logarithms (the tail of a log-normal passes).                    |
|           | Values beyond are outliers only if a gap parts them from the rest: a value     |
|           | within three times the distance of its inner neighbour belongs to the tail.    |
| min = 0   | the same column, if at least 95 % aren't negative and only a few rows are,     |
|           | these apart from the rest by more than a quarter of the central width;         |
|           | unless its name says that it has a sign (temperature, balance, delta…)         |
| values    | strings of at most 20 different values, at least 10 rows each on average,      |
|           | every one seen three times or more; values seen once or twice are mistakes if  |
|           | they are a few rows together, else there is no set                             |
| unique    | the column is named `id` or `…_id` and all its values differ                   |

A few rows are at most 1 % of them, or one or two rows that are at most 5 %.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.data.arrow import pc
from volant.data.cast import INTEGER, NUMBER, TIMESTAMP, cast, missing
from volant.domain.contract import ColumnRule, ColumnType, Contract

_SHARE = 0.95
_FEW_ROWS, _FEW_SHARE = 2, 0.01
_LEAST_FOR_BOUNDS = 20
_WIDER = 10.0
_GAP = 3.0
_STEP = 0.25
_SAMPLE = 100_000  # rows that decide on a type
_MOST_VALUES, _ROWS_PER_VALUE, _LEAST_SEEN = 20, 10, 3
_BOOLEAN = r"(?i)^(true|false)$"
_SIGNED = re.compile(
    r"\b(temp|temperature|celsius|lat|latitude|lon|lng|long|longitude|delta|diff|difference"
    r"|change|growth|balance|profit|margin|returns?|residual|offset|log|slope|correlation)\b"
)

Numbers = NDArray[np.float64]


def infer_contract(table: pa.Table) -> Contract:
    """Rules for every column of `table` (text, int64, double, bool or timestamp)."""
    rules = [_rule(name, table.column(name)) for name in table.column_names]
    return Contract(tuple(rules), inferred=True)


def _rule(name: str, column: pa.ChunkedArray) -> ColumnRule:
    kind = _type(column)
    values = cast(column, kind)
    failed = 0 if values.failed is None else int(values.failed.sum())
    nulls = values.values.null_count - failed
    rule = ColumnRule(name=name, type=kind, nullable=not _few(nulls, len(column)))
    if _identifier(name, values.values):
        return replace(rule, unique=True)
    if kind in (ColumnType.INTEGER, ColumnType.NUMBER):
        low, high = _bounds(name, values.values, kind)
        return replace(rule, min=low, max=high)
    if kind is ColumnType.STRING:
        return replace(rule, values=_set(values.values))
    return rule


def _few(count: int, rows: int) -> bool:
    """At most 1 % of the rows; or one or two rows that are at most 5 %."""
    return count <= _FEW_SHARE * rows or (count <= _FEW_ROWS and count <= (1 - _SHARE) * rows)


def _type(column: pa.ChunkedArray) -> ColumnType:
    for matches, kind in (
        (pa.types.is_boolean, ColumnType.BOOLEAN),
        (pa.types.is_integer, ColumnType.INTEGER),
        (pa.types.is_floating, ColumnType.NUMBER),
        (pa.types.is_timestamp, ColumnType.TIMESTAMP),
    ):
        if matches(column.type):
            return kind
    there = _there(column.take(pa.array(_spread(len(column)))))
    if not len(there):
        there = _there(column)
    if not len(there):
        return ColumnType.STRING

    def share(pattern: str) -> float:
        return int(pc.sum(pc.match_substring_regex(there, pattern)).as_py()) / len(there)

    if share(_BOOLEAN) >= _SHARE:
        return ColumnType.BOOLEAN
    numeric = share(NUMBER)
    if numeric >= _SHARE:
        if share(r"^0\d+$") > _FEW_SHARE or share(r"^\d{19,}$") > _FEW_SHARE:
            return ColumnType.STRING
        # Any fraction at all makes it a number: a later one would be refused else.
        whole = share(INTEGER) == numeric and not _fraction(column)
        return ColumnType.INTEGER if whole else ColumnType.NUMBER
    return ColumnType.TIMESTAMP if share(TIMESTAMP) >= _SHARE else ColumnType.STRING


def _spread(rows: int) -> NDArray[np.int64]:
    """At most `_SAMPLE` indexes, evenly spread."""
    if rows <= _SAMPLE:
        return np.arange(rows)
    return np.linspace(0, rows - 1, _SAMPLE).astype(np.int64)


def _there(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.ascii_trim_whitespace(column.filter(pc.invert(missing(column))))


def _fraction(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(column, r"^\s*[+-]?\d*\.\d*[1-9]\d*\s*$")).as_py())


def _identifier(name: str, values: pa.ChunkedArray) -> bool:
    folded = name.casefold()
    if folded != "id" and not folded.endswith("_id"):
        return False
    if pa.types.is_floating(values.type) or pa.types.is_boolean(values.type):
        return False
    there = len(values) - values.null_count
    return there > 1 and pc.count_distinct(values, mode="only_valid").as_py() == there


def _bounds(
    name: str, values: pa.ChunkedArray, kind: ColumnType
) -> tuple[float | None, float | None]:
    numbers: Numbers = np.asarray(pc.cast(values.drop_null(), pa.float64(), safe=False).to_numpy())
    if len(numbers) < _LEAST_FOR_BOUNDS or _counter(numbers, kind):
        return None, None
    ordered = np.sort(numbers)
    q05, q50, q95 = np.quantile(ordered, (0.05, 0.5, 0.95)).tolist()
    low, high = _limits(ordered, q05, q50, q95)
    if q05 >= 0 and not _signed(name) and not _below_zero(ordered, q95 - q05):
        low = 0.0
    return low, high


def _below_zero(ordered: Numbers, width: float) -> bool:
    """Whether the column really goes below zero: in many rows, or step by step."""
    negative = int(np.searchsorted(ordered, 0.0))
    if not _few(negative, len(ordered)):
        return True
    return negative > 0 and bool(ordered[negative] - ordered[negative - 1] <= _STEP * width)


def _limits(
    ordered: Numbers, q05: float, q50: float, q95: float
) -> tuple[float | None, float | None]:
    if q95 == q05:  # one value nearly everywhere: the rest says how far values go
        rest = ordered[ordered != q50]
        if len(rest) < _LEAST_FOR_BOUNDS:
            return None, None
        q05, q95 = min(q05, float(rest[0])), max(q95, float(np.quantile(rest, 0.95)))
    width = q95 - q05
    high = q95 + _WIDER * width
    if q05 > 0:
        try:
            high = max(high, q50 * (q95 / q50) ** 4)
        except OverflowError:
            return None, None
    low = q05 - _WIDER * width
    centre = q50
    high = _with_tail(ordered - centre, high - centre) + centre
    low = centre - _with_tail((centre - ordered)[::-1], centre - low)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    return _rounded(low, math.floor), _rounded(high, math.ceil)


def _with_tail(distances: Numbers, limit: float) -> float:
    """`limit`, or further if the values beyond it (ascending) hang together with the
    ones before."""
    cut = int(np.searchsorted(distances, limit, side="right"))
    inner = float(distances[cut - 1])
    reached = False
    for distance in distances[cut:].tolist():
        if distance > _GAP * max(inner, limit / _GAP):
            break
        inner, reached = distance, True
    return _GAP * inner if reached else limit


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """To two significant digits, outwards: a bound is no measurement."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{towards(value / step) * step:.6g}")


def _counter(numbers: Numbers, kind: ColumnType) -> bool:
    """Row numbers and the like grow without end: integers, each larger than the last."""
    return kind is ColumnType.INTEGER and bool(np.all(np.diff(numbers) > 0))


def _signed(name: str) -> bool:
    return _SIGNED.search(re.sub(r"[^a-z]+", " ", name.casefold())) is not None


def _set(values: pa.ChunkedArray) -> tuple[str, ...] | None:
    rows = len(values) - values.null_count
    counted = pc.value_counts(values.drop_null())
    if len(counted) > _MOST_VALUES + max(_FEW_ROWS, _FEW_SHARE * rows):  # spares the rest
        return None
    counts = counted.field("counts").to_numpy(zero_copy_only=False)
    common = counts >= _LEAST_SEEN
    rare_rows = int(counts[~common].sum())
    kept = int(common.sum())
    if not 1 <= kept <= _MOST_VALUES or rows < _ROWS_PER_VALUE * kept:
        return None
    if rare_rows and not _few(rare_rows, rows):
        return None
    return tuple(sorted(counted.field("values").filter(pa.array(common)).to_pylist()))
