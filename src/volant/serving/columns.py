"""One column's JSON values to an array, by the column's type and no guess.

A value of the wrong kind is refused with its row; a null is refused where the column
doesn't allow it, else it becomes NaN (numbers), "" or None (text, by the tensor).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

import numpy as np

from volant.domain.model import Field
from volant.serving.datatypes import DATATYPES, FLOATS, RANGE, Array, texts
from volant.serving.refusal import Refusal, shown

_NUMBERS = frozenset({int, float})
_ACCEPTS: dict[str, frozenset[str]] = {
    "number": frozenset(RANGE) | FLOATS,
    "integer": frozenset(RANGE) | FLOATS,
    "boolean": frozenset(RANGE) | FLOATS | {"BOOL"},
    "string": frozenset({"BYTES"}),
    "timestamp": frozenset({"BYTES"}),
}
_WORDS = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a string",
    "timestamp": "a time in ISO 8601",
}


def as_array(data: list[Any] | Array, datatype: str, column: Field, dtype: str) -> Array:
    """`data` as a flat array of `dtype` (a `Tensor.dtype`). Raises `Refusal` (400)."""
    if datatype not in _ACCEPTS[column.type]:
        raise Refusal(
            400,
            f"Tensor {shown(column.name)}: expected a datatype for {_WORDS[column.type]} "
            f"({', '.join(d for d in DATATYPES if d in _ACCEPTS[column.type])}), got {datatype}.",
        )
    if not isinstance(data, list):
        if data.dtype != object:
            return _numbers(data, column, dtype)
        data = cast("list[Any]", data.tolist())
    for i, value in enumerate(data):
        if not (column.nullable if value is None else _fits(value, datatype, column.type)):
            raise _unfit(column, i, value, datatype)
    if dtype in ("string", "text"):
        missing = "" if dtype == "string" else None
        if datatype != "BYTES":  # a column that nothing was learned from
            return texts(data)
        return texts([missing if v is None else v for v in data])
    with np.errstate(over="ignore"):
        array = np.array(data, dtype=np.float64).astype(dtype)
    for i in np.flatnonzero(~np.isfinite(array)).tolist():
        if data[i] is not None:
            raise _beyond(column, i, data[i], dtype)
    return array


def _numbers(data: Array, column: Field, dtype: str) -> Array:
    """Binary numbers; a NaN is a missing value."""
    exact = data.astype(np.float64, copy=False)
    good = np.isfinite(exact)
    if column.type == "boolean":
        good &= (exact == 0) | (exact == 1)
    elif column.type == "integer":
        good &= exact == np.floor(exact)
    missing = np.isnan(exact)
    wrong = np.flatnonzero(~(good | missing) if column.nullable else ~good)
    if len(wrong):
        raise _unfit(column, int(wrong[0]), exact[wrong[0]].item())
    if dtype in ("string", "text"):
        return exact
    with np.errstate(over="ignore"):
        array = exact.astype(dtype, copy=False)
    beyond = np.flatnonzero(~np.isfinite(array) & good)
    if len(beyond):
        raise _beyond(column, int(beyond[0]), exact[beyond[0]].item(), dtype)
    return array


def _unfit(column: Field, i: int, value: Any, datatype: str = "") -> Refusal:
    words, bounds = _WORDS[column.type], RANGE.get(datatype)
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if bounds is not None and whole and column.type != "boolean":
        words = f"a whole number from {bounds[0]} to {bounds[1]} ({datatype})"
    return Refusal(
        400,
        f"Tensor {shown(column.name)}, value {i}: expected {words}"
        f"{' or null' if column.nullable else ''}, got {shown(value)}.",
    )


def _beyond(column: Field, i: int, value: Any, dtype: str) -> Refusal:
    return Refusal(
        400,
        f"Tensor {shown(column.name)}, value {i}: expected a number within {dtype}, "
        f"got {shown(value)}.",
    )


def plain_numbers(
    data: list[Any], datatypes: Collection[str], whole: bool, dtype: str
) -> Array | None:
    """The usual case without a look at each value: nothing but finite numbers, as a flat
    array; None when something needs the closer look of `as_array`. `whole`: each has to
    be a whole number."""
    kinds = set(map(type, data))
    if not kinds <= _NUMBERS:
        return None
    if not FLOATS.issuperset(datatypes) and not (kinds == {int} and _within(data, datatypes)):
        return None
    with np.errstate(over="ignore"):
        exact = np.array(data, dtype=np.float64)
        array = exact if dtype == "float64" else exact.astype(dtype)
    if not np.isfinite(array).all() or (whole and (exact != np.floor(exact)).any()):
        return None
    return array


def _within(data: list[int], datatypes: Collection[str]) -> bool:
    """Whether all are in the range of every whole type among `datatypes`."""
    if "BOOL" in datatypes or "BYTES" in datatypes:
        return False
    bounds = [RANGE[datatype] for datatype in datatypes if datatype not in FLOATS]
    return max(b[0] for b in bounds) <= min(data) and max(data) <= min(b[1] for b in bounds)


def _fits(value: object, datatype: str, kind: str) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str) and (kind == "string" or _is_time(value))
    if datatype == "BOOL":
        return type(value) is bool or (type(value) is int and value in (0, 1))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    whole = isinstance(value, int) or value.is_integer()
    bounds = RANGE.get(datatype)
    if bounds is not None and not (whole and bounds[0] <= value <= bounds[1]):
        return False
    if kind == "boolean":
        return value in (0, 1)
    return whole or kind != "integer"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
