"""Rows of a table for a model that takes tensors: a column for each, one entry a row.

A number, text or truth value stands for an entry of one value; a list, as Parquet has them
or as JSON text in a CSV, for a larger one. A model with one matrix takes all columns of a
table that has as many and none of its name. What fits is judged as online, by the protocol.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.errors import InvalidInput
from volant.serving.batch_arrays import dense
from volant.serving.batch_rows import WORDS, Tools
from volant.serving.datatypes import FLOATS, Array
from volant.serving.description import Description, TensorInput
from volant.serving.oip import parse
from volant.serving.refusal import shown

AT_ONCE = 1024  # rows that are tensors at the same time


class TensorRows:
    """Args:
    about: A model that takes tensors. Raises `InvalidInput` where the number of rows in
        one request is fixed.
    name: What messages call the input.
    """

    def __init__(self, about: Description, tools: Tools, name: str) -> None:
        if not about.batchable:
            raise InvalidInput(
                "The model takes or answers tensors of a fixed number of rows.",
                "Export it with a first size that may be any, or ask its deployment over the "
                "Open Inference Protocol.",
                code="batch_tensors",
            )
        self._about = about
        self._tools = tools
        self._name = name

    def read(self, rows: pa.Table, rejected: dict[int, str]) -> TensorChunk:
        """The rows' values; those without a usable one are put into `rejected`."""
        values = [self._values(rows, spec, rejected) for spec in self._about.inputs]
        return TensorChunk(self._about, values)

    def _values(
        self, rows: pa.Table, spec: TensorInput, rejected: dict[int, str]
    ) -> list[Any] | Array:
        if spec.name in rows.column_names:
            column = rows.column(spec.name)
            found = dense(column, spec.datatype, spec.shape)
            return self._entries(column, spec, rejected) if found is None else found
        alone = len(self._about.inputs) == 1 and len(spec.shape) == 2
        if alone and spec.shape[1] in (-1, rows.num_columns) and rows.num_columns:
            columns = [dense(one, spec.datatype, (-1,)) for one in rows.columns]
            whole = [one for one in columns if one is not None]
            if len(whole) == len(columns):
                return np.stack(whole, axis=1)
            parts = [self._scalars(rows.column(n), n, spec, rejected) for n in rows.column_names]
            return [list(row) for row in zip(*parts, strict=True)]
        raise InvalidInput(
            f"{self._name} lacks the column {spec.name!r}.",
            f"The model wants: {', '.join(one.name for one in self._about.inputs)}; an entry of "
            "more than one value is a list.",
            code="missing_column",
            details={"column": spec.name},
        )

    def _entries(
        self, column: pa.ChunkedArray, spec: TensorInput, rejected: dict[int, str]
    ) -> list[Any]:
        if all(size == 1 for size in spec.shape[1:]) and not _lists(column):
            return self._scalars(column, spec.name, spec, rejected)
        values = column.to_pylist()
        for i, value in enumerate(values):
            if isinstance(value, str):  # a CSV's cell
                with contextlib.suppress(orjson.JSONDecodeError):  # it is told below
                    values[i] = orjson.loads(value)
            if not isinstance(values[i], list):
                rejected.setdefault(i, f"{spec.name}: expected a list, got {shown(value)}")
        return values

    def _scalars(
        self, column: pa.ChunkedArray, name: str, spec: TensorInput, rejected: dict[int, str]
    ) -> list[Any]:
        kind = _column_type(spec.datatype)
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        plain = self._tools.plain(column, name, self._name)
        if kind is ColumnType.STRING and pa.types.is_string(plain.type):
            texts = plain.to_pylist()  # an empty one is a text here
            for i in (i for i, text in enumerate(texts) if text is None):
                rejected.setdefault(i, f"{name}: expected text, got nothing")
            return texts
        found = self._tools.cast(plain, kind)
        failed = np.zeros(len(plain), bool) if found.failed is None else found.failed
        for i in np.flatnonzero(failed).tolist():
            got = str(plain[i].as_py())[:80]
            rejected.setdefault(i, f"{name}: expected {WORDS[kind]}, got {got!r}")
        missing = found.values.is_null().to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(missing & ~failed).tolist():
            rejected.setdefault(i, f"{name}: expected {WORDS[kind]}, got nothing")
        return found.values.to_pylist()


class TensorChunk:
    """The values of a chunk's rows for each input: an array of all, or a list of values
    that are still to be judged."""

    def __init__(self, about: Description, values: list[list[Any] | Array]) -> None:
        self._about = about
        arrays = [one for one in values if isinstance(one, np.ndarray)]
        self._arrays = arrays if len(arrays) == len(values) else None
        self._values: list[list[Any]] = (
            []
            if self._arrays is not None
            else [one.tolist() if isinstance(one, np.ndarray) else one for one in values]
        )

    def groups(self, places: Array) -> Iterator[Array]:
        """Rows that can be one tensor: of the same sizes, and not too many."""
        if self._arrays is not None:
            for start in range(0, len(places), AT_ONCE):
                yield places[start : start + AT_ONCE]
            return
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place in places.tolist():
            groups.setdefault(tuple(_sizes(v[place]) for v in self._values), []).append(place)
        for group in groups.values():
            for start in range(0, len(group), AT_ONCE):
                yield np.array(group[start : start + AT_ONCE], dtype=np.int64)

    def feeds(self, places: Array) -> Sequence[Array]:
        """Raises `Refusal` when one of the rows doesn't fit the signature."""
        if self._arrays is not None:
            return [array[places] for array in self._arrays]
        chosen = places.tolist()
        tensors = [
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": [len(chosen), *(_sizes(values[chosen[0]]) or spec.shape[1:])],
                "data": [values[place] for place in chosen],
            }
            for spec, values in zip(self._about.inputs, self._values, strict=True)
        ]
        return parse(orjson.dumps({"inputs": tensors}), self._about).feeds


def _lists(column: pa.ChunkedArray) -> bool:
    return pa.types.is_nested(column.type)


def _column_type(datatype: str) -> ColumnType:
    if datatype in FLOATS:
        return ColumnType.NUMBER
    if datatype == "BOOL":
        return ColumnType.BOOLEAN
    return ColumnType.STRING if datatype == "BYTES" else ColumnType.INTEGER


def _sizes(value: Any) -> tuple[int, ...]:
    """As the first elements have them; whether the others do, the protocol's parser says."""
    sizes: list[int] = []
    while isinstance(value, list):
        entries = cast("list[Any]", value)
        sizes.append(len(entries))
        value = entries[0] if entries else None
    return tuple(sizes)
