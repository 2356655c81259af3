"""A number for each row's features, the same in every version of a table.

It depends on column names and values alone: not on the columns' order, not on a
column that is null in this row (so a column added later changes nothing for old
rows), not on whether a whole number is stored as integer or float.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_EXACT = float(2**53)  # beyond it, float64 no longer holds every integer


def row_hashes(table: pa.Table, *, without: str) -> Hashes:
    """[rows] of 64-bit hashes over every column but `without`.

    A row's hash is the sum, modulo 2⁶⁴, of one mixed hash for each non-null value:
    a sum doesn't depend on order. The mixing function is splitmix64's finaliser
    (Steele, Lea & Flood 2014). Two different rows of a million collide with
    probability 3e-8; the cost of a collision is one training row.
    """
    total = np.zeros(table.num_rows, dtype=np.uint64)
    for name in table.column_names:
        if name == without:
            continue
        column = table.column(name).combine_chunks()
        codes, known = _value_codes(column)
        salt = np.uint64(_text_hash(name))
        total += np.where(known, _mix(codes ^ salt), np.uint64(0))
    return total


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: Hashes) -> Hashes:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _value_codes(column: Any) -> tuple[Hashes, NDArray[np.bool_]]:
    """A 64-bit code for each value and whether it is there."""
    kind = column.type
    known = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(False))
        return _mix(_float_bits(values)), known & ~np.isnan(values)
    if pa.types.is_integer(kind):
        exact = np.asarray(pc.cast(pc.fill_null(column, 0), pa.int64(), safe=False).to_numpy(False))
        floats = exact.astype(np.float64)
        bits = np.where(np.abs(floats) <= _EXACT, _float_bits(floats), exact.view(np.uint64))
        return _mix(bits), known
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = pc.cast(column, pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        micros = pc.fill_null(pc.cast(moments, pa.int64()), 0).to_numpy(False)
        return _mix(np.asarray(micros).view(np.uint64) ^ np.uint64(0x7E)), known
    return _hashed_texts(column), known


def _float_bits(values: NDArray[np.float64]) -> Hashes:
    return (values + 0.0).view(np.uint64)  # adding 0.0 makes -0.0 the same as 0.0


def _hashed_texts(column: Any) -> Hashes:
    """Each distinct value is hashed once: text by its characters, anything else by its repr."""
    if len(column) == 0:
        return np.zeros(0, dtype=np.uint64)
    values: list[Any] = column.to_pylist()
    seen: dict[Any, int] = {}
    codes = np.empty(len(values), dtype=np.uint64)
    for index, value in enumerate(values):
        key = value if isinstance(value, str | bool) else repr(value)
        code = seen.get(key)
        if code is None:
            code = _text_hash(f"{type(key).__name__}:{key}")
            seen[key] = code
        codes[index] = code
    return codes
