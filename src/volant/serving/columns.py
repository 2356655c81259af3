"""One column's JSON values to an array, by the column's type and no guess.

A value of the wrong kind is refused with its row; a null is refused where the column
doesn't allow it, else it becomes NaN (numbers), "" or None (text, by the tensor).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np

from volant.domain.model import Field
from volant.serving.refusal import Refusal, shown

Array = np.ndarray[Any, np.dtype[Any]]

_RANGE: dict[str, tuple[int, int]] = {
    f"{prefix}INT{bits}": ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), (0, 2**bits - 1))[
        prefix == "U"
    ]
    for prefix in ("", "U")
    for bits in (8, 16, 32, 64)
}
FLOATS = frozenset({"FP16", "FP32", "FP64"})
DATATYPES: tuple[str, ...] = ("BOOL", *_RANGE, "FP16", "FP32", "FP64", "BYTES")

_NUMBERS = frozenset({int, float})
_ACCEPTS: dict[str, frozenset[str]] = {
    "number": frozenset(_RANGE) | FLOATS,
    "integer": frozenset(_RANGE) | FLOATS,
    "boolean": frozenset(_RANGE) | FLOATS | {"BOOL"},
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


def as_array(data: list[Any], datatype: str, column: Field, dtype: str) -> Array:
    """`data` as a flat array of `dtype` (a `Tensor.dtype`). Raises `Refusal` (400)."""
    if datatype not in _ACCEPTS[column.type]:
        raise Refusal(
            400,
            f"Tensor {shown(column.name)}: expected a datatype for {_WORDS[column.type]} "
            f"({', '.join(d for d in DATATYPES if d in _ACCEPTS[column.type])}), got {datatype}.",
        )
    for i, value in enumerate(data):
        if not (column.nullable if value is None else _fits(value, datatype, column.type)):
            raise Refusal(
                400,
                f"Tensor {shown(column.name)}, value {i}: expected {_WORDS[column.type]}"
                f"{' or null' if column.nullable else ''}, got {shown(value)}.",
            )
    if dtype in ("string", "text"):
        missing = "" if dtype == "string" else None
        return np.array([missing if v is None else v for v in data], dtype=object)
    with np.errstate(over="ignore"):
        array = np.array(data, dtype=np.float64).astype(dtype)
    for i in np.flatnonzero(~np.isfinite(array)).tolist():
        if data[i] is not None:
            raise Refusal(
                400,
                f"Tensor {shown(column.name)}, value {i}: expected a number within {dtype}, "
                f"got {shown(data[i])}.",
            )
    return array


def plain_numbers(
    data: list[Any], datatypes: Iterable[str], whole: bool, dtype: str
) -> Array | None:
    """The usual case without a look at each value: nothing but finite numbers, as a flat
    array; None when something needs the closer look of `as_array`. `whole`: each has to
    be a whole number."""
    kinds = set(map(type, data))
    if not kinds <= _NUMBERS:
        return None
    if not FLOATS.issuperset(datatypes) and not (kinds == {int} and _all_long(data, datatypes)):
        return None
    with np.errstate(over="ignore"):
        exact = np.array(data, dtype=np.float64)
        array = exact if dtype == "float64" else exact.astype(dtype)
    if not np.isfinite(array).all() or (whole and (exact != np.floor(exact)).any()):
        return None
    return array


def _all_long(data: list[int], datatypes: Iterable[str]) -> bool:
    low, high = _RANGE["INT64"]
    return FLOATS.union({"INT64"}).issuperset(datatypes) and low <= min(data) <= max(data) <= high


def _fits(value: object, datatype: str, kind: str) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str) and (kind == "string" or _is_time(value))
    if datatype == "BOOL":
        return type(value) is bool or (type(value) is int and value in (0, 1))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    whole = isinstance(value, int) or value.is_integer()
    bounds = _RANGE.get(datatype)
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
