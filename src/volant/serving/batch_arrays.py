"""A table's column as one array, where its values need no look one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from volant.serving.datatypes import DTYPE, RANGE, Array


def dense(column: pa.ChunkedArray, datatype: str, shape: tuple[int, ...]) -> Array | None:
    """[rows, …] in the datatype; None for a column with missing values, lists of different
    sizes, values that the datatype or sizes that the shape doesn't have, and texts."""
    values = column.combine_chunks()
    sizes = [len(values)]
    while pa.types.is_nested(values.type):
        size = _size(values)
        if size is None:
            return None
        sizes.append(size)
        values = values.flatten()
    array = None if values.null_count else _numbers(values, datatype)
    if array is None:
        return None
    if len(sizes) == 1 and all(size == 1 for size in shape[1:]):
        sizes += shape[1:]  # a number stands for an entry of one value
    fits = len(sizes) == len(shape) and all(
        want in (-1, size) for want, size in zip(shape, sizes, strict=True)
    )
    return array.reshape(sizes) if fits else None


def _size(lists: Any) -> int | None:
    """Of every list; None when they differ, or when it isn't lists."""
    if lists.null_count or not len(lists):
        return None
    kind = lists.type
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size or None
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return None
    sizes = np.diff(lists.offsets.to_numpy())
    return int(sizes[0]) if sizes[0] and (sizes == sizes[0]).all() else None


def _numbers(values: Any, datatype: str) -> Array | None:
    kind = values.type
    if datatype == "BOOL":
        return values.to_numpy(zero_copy_only=False) if pa.types.is_boolean(kind) else None
    if datatype in RANGE and pa.types.is_integer(kind):
        array = values.to_numpy(zero_copy_only=False)
        low, high = RANGE[datatype]
        if len(array) and not (low <= int(array.min()) and int(array.max()) <= high):
            return None
        return array.astype(DTYPE[datatype], copy=False)
    if datatype in ("FP32", "FP64") and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        array = values.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            found = array.astype(DTYPE[datatype], copy=False)
        return None if np.isinf(found).any() else found
    return None
