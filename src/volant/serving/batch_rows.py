"""One chunk of rows → the model's arrays → predictions, row by row where it must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.serving.datatypes import Array
from volant.serving.inference import Model
from volant.serving.query import Answer
from volant.serving.refusal import Refusal

# (column, type) → values in the type, null where missing or failed; and what failed
Cast = Callable[[pa.ChunkedArray, ColumnType], Any]
# (column, its name, the file's) → text, int64, double, bool or timestamp
Plain = Callable[[pa.ChunkedArray, str, str], pa.ChunkedArray]

_WORDS = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "text",
    "timestamp": "a time in ISO 8601",
}


@dataclass(frozen=True)
class Tools:
    """What the data room knows of values, given from outside."""

    cast: Cast
    plain: Plain


@dataclass
class Predicted:
    """`output` holds the rows that were predicted; `rejected` maps the others' places in
    the chunk to the reason."""

    output: pa.Table
    rejected: dict[int, str]


class ChunkPredictor:
    """Args:
    model: As a replica loads it.
    name: What messages call the input.
    only: Whether the output has the predictions alone.
    """

    def __init__(self, model: Model, tools: Tools, name: str, *, only: bool) -> None:
        if not model.description.columns:
            raise InvalidInput(
                "The model takes tensors, and rows of a table have none.",
                "Ask its deployment over the Open Inference Protocol instead.",
                code="batch_tensors",
            )
        self._model = model
        self._about = model.description
        self._tools = tools
        self._name = name
        self._only = only

    def predict(self, rows: pa.Table) -> Predicted:
        """Raises `InvalidInput` when the chunk lacks a column that the model needs."""
        rejected: dict[int, str] = {}
        values = [self._column(rows, field, rejected) for field in self._about.columns]
        feeds = self._feeds(values, rejected)
        good = np.array([i for i in range(rows.num_rows) if i not in rejected], dtype=np.int64)
        parts: list[tuple[np.ndarray[Any, Any], Answer]] = []
        if len(good):
            self._answer(good, [feed[good] for feed in feeds], parts, rejected)
        return Predicted(self._output(rows, parts), rejected)

    def empty(self, names: Sequence[str]) -> pa.Schema:
        """The output's columns when no row was predicted."""
        rows = pa.table({name: pa.array([], pa.string()) for name in names})
        columns = [] if self._only else self._own(rows)
        names = [name for name, _ in columns]
        for output in self._about.outputs:
            names += self._labels(output.name) or [output.name]
        return pa.schema([(name, pa.string()) for name in names])

    def _column(
        self, rows: pa.Table, field: Field, rejected: dict[int, str]
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """A column as it came, plain, and in its type."""
        if field.name not in rows.column_names:
            if not field.nullable:
                raise InvalidInput(
                    f"{self._name} lacks the column {field.name!r}.",
                    f"The model wants: {', '.join(c.name for c in self._about.columns)}.",
                    code="missing_column",
                    details={"column": field.name},
                )
            nothing = pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
            return nothing, self._tools.cast(nothing, ColumnType(field.type)).values
        plain = rows.column(field.name)
        if pa.types.is_null(plain.type):
            plain = plain.cast(pa.string())
        plain = self._tools.plain(plain, field.name, self._name)
        found = self._tools.cast(plain, ColumnType(field.type))
        failed = np.zeros(rows.num_rows, bool) if found.failed is None else found.failed
        for i in np.flatnonzero(failed).tolist():
            got = str(plain[i].as_py())[:80]
            rejected.setdefault(i, f"{field.name}: expected {_WORDS[field.type]}, got {got!r}")
        if not field.nullable:
            missing = found.values.is_null().to_numpy(zero_copy_only=False)
            for i in np.flatnonzero(missing & ~failed).tolist():
                rejected.setdefault(i, f"{field.name}: expected {_WORDS[field.type]}, got nothing")
        return plain, found.values

    def _feeds(
        self, values: list[tuple[pa.ChunkedArray, pa.ChunkedArray]], rejected: dict[int, str]
    ) -> list[Array]:
        feeds: list[Array] = []
        for tensor in self._about.tensors:
            parts: list[Array] = []
            for place in tensor.columns:
                field = self._about.columns[place]
                plain, typed = values[place]
                if tensor.dtype in ("string", "text"):
                    parts.append(_texts(plain, typed, field, tensor.dtype))
                else:
                    parts.append(_numbers(typed, field, tensor.dtype, rejected))
            feeds.append(np.stack(parts, axis=1))
        return feeds

    def _answer(
        self,
        places: Array,
        feeds: list[Array],
        parts: list[tuple[Array, Answer]],
        rejected: dict[int, str],
    ) -> None:
        """Predict; where the model refuses, halve until the rows that it minds are alone."""
        try:
            parts.append((places, self._model.predict(feeds)))
        except Exception as error:
            if len(places) == 1:
                rejected[int(places[0])] = error.text if isinstance(error, Refusal) else str(error)
                return
            middle = len(places) // 2
            for half in (slice(None, middle), slice(middle, None)):
                self._answer(places[half], [feed[half] for feed in feeds], parts, rejected)

    def _output(self, rows: pa.Table, parts: list[tuple[Array, Answer]]) -> pa.Table:
        if not parts:
            return self.empty(rows.column_names).empty_table()
        places = np.concatenate([where for where, _ in parts])
        columns = [] if self._only else self._own(rows.take(pa.array(places)))
        for number, output in enumerate(self._about.outputs):
            values = np.concatenate([answer.outputs[number] for _, answer in parts])
            columns += self._named(output.name, values)
        return pa.table([c for _, c in columns], names=[n for n, _ in columns])

    def _own(self, rows: pa.Table) -> list[tuple[str, Any]]:
        """The input's columns; one that is named like a prediction gives way."""
        taken = {output.name for output in self._about.outputs}
        for output in self._about.outputs:
            taken.update(self._labels(output.name))
        return [
            (f"input_{name}" if name in taken else name, rows.column(name))
            for name in rows.column_names
        ]

    def _labels(self, output: str) -> list[str]:
        """The columns of the classes' probabilities; none for other outputs."""
        if output != "probabilities" or not self._about.classes:
            return []
        return [f"probability_{_word(label)}" for label in self._about.classes]

    def _named(self, name: str, values: Array) -> list[tuple[str, Any]]:
        labels = self._labels(name)
        if labels and values.ndim == 2 and values.shape[1] == len(labels):
            return [(label, pa.array(values[:, i].copy())) for i, label in enumerate(labels)]
        if values.ndim > 1:
            return [(name, pa.array([value.tolist() for value in values]))]
        if values.dtype == object:
            return [(name, pa.array([None if v is None else str(v) for v in values.tolist()]))]
        return [(name, pa.array(values))]


def _word(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _texts(plain: pa.ChunkedArray, typed: pa.ChunkedArray, field: Field, dtype: str) -> Array:
    """Text as a client would send it; a time as it was written."""
    if field.type == "timestamp" and pa.types.is_timestamp(plain.type):
        texts = [None if v is None else v.isoformat() for v in plain.to_pylist()]
    elif field.type == "timestamp":
        kept = typed.is_valid().to_pylist()
        texts = [v if good else None for v, good in zip(plain.to_pylist(), kept, strict=True)]
    else:
        texts = typed.to_pylist()
    missing = "" if dtype == "string" else None
    array = np.empty(len(texts), dtype=object)
    array[:] = [missing if text is None else text for text in texts]
    return array


def _numbers(typed: pa.ChunkedArray, field: Field, dtype: str, rejected: dict[int, str]) -> Array:
    exact = typed.cast(pa.float64(), safe=False).to_numpy()
    exact = np.where(typed.is_null().to_numpy(zero_copy_only=False), np.nan, exact)
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    for i in np.flatnonzero(np.isinf(array)).tolist():
        reason = f"{field.name}: expected a number within {dtype}, got {exact[i]:g}"
        rejected.setdefault(i, reason)
    return array
