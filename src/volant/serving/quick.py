"""The usual question in one go: a few rows of nothing but numbers.

`usual` reads what it is sure of and leaves everything else, and every refusal, to the
closer look of `oip.parse`: it answers exactly what that would, or None.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np

from volant.serving.columns import FLOATS
from volant.serving.description import Description, Numbers

Array = np.ndarray[Any, np.dtype[Any]]

_NUMBERS = frozenset({int, float})
_LONG = 2**63
_TELLING = frozenset({"binary_data_size", "shared_memory_region"})
_MOST = 512  # values; beyond it, arrays are checked faster than lists


def usual(inputs: list[Any], model: Description) -> tuple[int, tuple[Array, ...]] | None:
    """Rows and feeds of a model whose columns are numbers of one tensor; None when the
    question isn't a plain matrix, or one row with a tensor for each column."""
    numbers = model.numbers
    if numbers is None:
        return None
    width = len(numbers.positions)
    if len(inputs) == width and not (width == 1 and _is_matrix(inputs[0], numbers)):
        row = _row(inputs, numbers)
        return None if row is None else _checked(row, 1, numbers)
    if len(inputs) != 1 or not _is_matrix(inputs[0], numbers):
        return None
    data, rows = inputs[0]["data"], inputs[0]["shape"][0]
    return _checked(data, rows, numbers)


def _is_matrix(tensor: Any, numbers: Numbers) -> bool:
    if type(tensor) is not dict:
        return False
    name, shape = tensor.get("name"), tensor.get("shape")
    datatype, data = tensor.get("datatype"), tensor.get("data")
    if type(name) is not str or name in numbers.positions:
        return False
    if len(tensor) > 4 and not _plain(tensor):
        return False
    if type(datatype) is not str or datatype not in FLOATS:
        return False
    if type(shape) is not list or len(shape) != 2 or type(data) is not list:
        return False
    rows, width = shape
    return (
        type(rows) is int
        and type(width) is int
        and rows > 0
        and width == len(numbers.positions)
        and rows * width == len(data) <= _MOST
    )


def _row(inputs: list[Any], numbers: Numbers) -> list[Any] | None:
    """One value for each column, in their order; a column that came twice leaves a None."""
    row: list[Any] = [None] * len(inputs)
    for tensor in inputs:
        if type(tensor) is not dict:
            return None
        name, shape = tensor.get("name"), tensor.get("shape")
        datatype, data = tensor.get("datatype"), tensor.get("data")
        position = numbers.positions.get(name) if type(name) is str else None
        if position is None or type(shape) is not list or type(data) is not list:
            return None
        if len(data) != 1 or not 0 < len(shape) < 3 or (len(tensor) > 4 and not _plain(tensor)):
            return None
        if any(type(size) is not int for size in shape) or shape not in ([1], [1, 1]):
            return None
        value = data[0]
        if type(datatype) is not str or not _fits(value, datatype):
            return None
        row[position] = value
    return row


def _plain(tensor: dict[str, Any]) -> bool:
    """Whether what else it holds changes nothing."""
    parameters = tensor.get("parameters")
    return parameters is None or (
        type(parameters) is dict and not _TELLING.intersection(parameters)
    )


def _fits(value: Any, datatype: str) -> bool:
    return datatype in FLOATS or (
        datatype == "INT64" and type(value) is int and -_LONG <= value < _LONG
    )


def _checked(data: list[Any], rows: int, numbers: Numbers) -> tuple[int, tuple[Array, ...]] | None:
    if not _NUMBERS.issuperset(map(type, data)):
        return None
    width = len(numbers.positions)
    for column in numbers.whole:
        if any(type(value) is not int for value in data[column::width]):
            return None
    packer = _packer(numbers.dtype, len(data))
    memory = bytearray(packer.size)
    try:
        packer.pack_into(memory, 0, *data)  # half the time of `np.array`
    except OverflowError:  # beyond the largest of the type; JSON has no NaN and no infinity
        return None
    return rows, (np.ndarray((rows, width), numbers.dtype, memory),)


@lru_cache(_MOST)
def _packer(dtype: str, values: int) -> Struct:
    # Only the standard sizes (`=`) are checked against the largest float32.
    return Struct(f"={values}{'f' if dtype == 'float32' else 'd'}")
