"""Tensors of a request to the feeds of a model over columns.

Columns come either as one tensor each, matched by name, or as a single two-dimensional
tensor in the signature's order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volant.domain.model import Field
from volant.serving.columns import as_array, plain_numbers
from volant.serving.datatypes import Array
from volant.serving.description import OIP_TYPE, Description, Numbers, Tensor
from volant.serving.given import dims
from volant.serving.query import Given
from volant.serving.refusal import Refusal, nearest, shown

Feeds = tuple[Array, ...]


def table_feeds(given: Sequence[Given], model: Description) -> tuple[int, Feeds]:
    """Rows and feeds. Raises `Refusal` (400)."""
    if len(given) == 1 and all(given[0].name != c.name for c in model.columns):
        return _matrix(given[0], model)
    return _by_name(given, model)


def _matrix(given: Given, model: Description) -> tuple[int, Feeds]:
    columns = model.columns
    width = len(columns)
    shape = given.shape
    if len(shape) != 2 or shape[1] != width:
        raise Refusal(
            400,
            f"Tensor {shown(given.name)}: expected shape [n, {width}] (the columns "
            f"{_names(columns)} in this order) or one tensor for each column, "
            f"got shape {dims(shape)}.",
        )
    rows = _rows(shape[0])
    data, numbers = given.data, model.numbers
    if numbers is not None and given.datatype not in ("BOOL", "BYTES"):
        if isinstance(data, list):
            whole = len(numbers.whole) == width
            if whole or not numbers.whole:
                plain = plain_numbers(data, (given.datatype,), whole, numbers.dtype)
                if plain is not None:
                    return rows, (plain.reshape(rows, width),)
        else:
            matrix = _finite(data.reshape(rows, width), numbers)
            if matrix is not None:
                return rows, (matrix,)
    each = [
        Given(column.name, [rows], given.datatype, data[i::width])
        for i, column in enumerate(columns)
    ]
    return rows, _arrays(each, rows, model)


def _finite(matrix: Array, numbers: Numbers) -> Array | None:
    """A matrix of finite numbers as the runtime wants it, without a copy where it is so
    already; None when something needs the closer look."""
    if not np.isfinite(matrix).all():
        return None
    if matrix.dtype.kind == "f":
        for column in numbers.whole:
            values = matrix[:, column]
            if (values != np.floor(values)).any():
                return None
    if matrix.dtype == numbers.dtype:
        return matrix
    with np.errstate(over="ignore"):
        fed = matrix.astype(numbers.dtype)
    return fed if np.isfinite(fed).all() else None


def _by_name(given: Sequence[Given], model: Description) -> tuple[int, Feeds]:
    known = {column.name: i for i, column in enumerate(model.columns)}
    found: list[Given | None] = [None] * len(known)
    rows = _rows(given[0].shape[0] if given[0].shape else 0)
    for tensor in given:
        i = known.get(tensor.name)
        if i is None:
            raise Refusal(
                400,
                f"Tensor {shown(tensor.name)}: expected one of the columns "
                f"{_names(model.columns)}.{nearest(tensor.name, known)}",
            )
        if found[i] is not None:
            raise Refusal(400, f"Tensor {shown(tensor.name)}: expected once, got twice.")
        if tensor.shape not in ([rows], [rows, 1]):
            raise Refusal(
                400,
                f"Tensor {shown(tensor.name)}: expected shape [{rows}] or [{rows}, 1], "
                f"got {dims(tensor.shape)}.",
            )
        found[i] = tensor
    return rows, _arrays(_completed(found, rows, model), rows, model)


def _completed(found: list[Given | None], rows: int, model: Description) -> list[Given]:
    """Columns that weren't sent are all null, where null is allowed."""
    complete: list[Given] = []
    missing: list[str] = []
    for column, one in zip(model.columns, found, strict=True):
        if one is None and not column.nullable:
            missing.append(column.name)
        complete.append(one or Given(column.name, [rows], OIP_TYPE[column.type], [None] * rows))
    if missing:
        got = [c.name for c, one in zip(model.columns, found, strict=True) if one is not None]
        raise Refusal(
            400,
            f"Expected the columns {_names(model.columns)}, got {len(got)} of them: "
            f"missing {', '.join(missing[:20])}.",
        )
    return complete


def _arrays(values: list[Given], rows: int, model: Description) -> Feeds:
    feeds = tuple(_feed(tensor, values, rows, model) for tensor in model.tensors)
    if sum(len(tensor.columns) for tensor in model.tensors) < len(values):
        # A column that the model learned nothing from is checked all the same.
        used = {i for tensor in model.tensors for i in tensor.columns}
        for i, column in enumerate(model.columns):
            if i not in used:
                as_array(values[i].data, values[i].datatype, column, "text")
    return feeds


def _feed(tensor: Tensor, values: list[Given], rows: int, model: Description) -> Array:
    plain = _plain(tensor, values, rows, model)
    if plain is not None:
        return plain
    parts = [
        as_array(values[i].data, values[i].datatype, model.columns[i], tensor.dtype)
        for i in tensor.columns
    ]
    return parts[0].reshape(rows, 1) if len(parts) == 1 else np.stack(parts, axis=1)


def _plain(tensor: Tensor, values: list[Given], rows: int, model: Description) -> Array | None:
    """All columns of a tensor at once, where they are nothing but numbers in lists."""
    kinds = {model.columns[i].type for i in tensor.columns}
    if not kinds <= {"number", "integer"}:
        return None
    chosen = [values[i] for i in tensor.columns]
    flat: list[object] = []
    for i, one in zip(tensor.columns, chosen, strict=True):
        if not isinstance(one.data, list):
            return None
        strict = len(kinds) == 2 and model.columns[i].type == "integer"
        if strict and set(map(type, one.data)) != {int}:
            return None
        flat += one.data
    array = plain_numbers(flat, {g.datatype for g in chosen}, kinds == {"integer"}, tensor.dtype)
    return None if array is None else np.ascontiguousarray(array.reshape(len(chosen), rows).T)


def _rows(n: int) -> int:
    if n < 1:
        raise Refusal(400, "Expected at least one row, got none.")
    return n


def _names(columns: Sequence[Field]) -> str:
    names = [c.name for c in columns[:12]]
    return ", ".join(names) + (", …" if len(columns) > 12 else "")
