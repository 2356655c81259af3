"""One chunk of rows → the model's arrays → predictions, row by row where it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.errors import Unavailable
from volant.serving.datatypes import Array, texts
from volant.serving.description import Description
from volant.serving.query import Answer
from volant.serving.refusal import Refusal

# (column, type) → values in the type, null where missing or failed; and what failed
Cast = Callable[[pa.ChunkedArray, ColumnType], Any]
# (column, its name, the file's) → text, int64, double, bool or timestamp
Plain = Callable[[pa.ChunkedArray, str, str], pa.ChunkedArray]

WORDS = {
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


class Rows(Protocol):
    """One chunk's rows, as a model wants them."""

    def groups(self, places: Array) -> Iterable[Array]:
        """The places of rows that can be predicted together."""
        ...

    def feeds(self, places: Array) -> Sequence[Array]:
        """Raises `Refusal` when one of the rows doesn't fit."""
        ...


class Reader(Protocol):
    """Makes rows of a table's chunks."""

    def read(self, rows: pa.Table, rejected: dict[int, str]) -> Rows:
        """Raises `InvalidInput` when the chunk lacks what the model needs."""
        ...


class ChunkPredictor:
    """Args:
    predict: A loaded model's.
    about: What that model takes and answers.
    reader: Makes rows of that model's.
    only: Whether the output has the predictions alone.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Array]], Answer],
        about: Description,
        reader: Reader,
        *,
        only: bool,
    ) -> None:
        self._predict = predict
        self._reader = reader
        self._output = OutputTable(about, only=only)

    def predict(self, rows: pa.Table) -> Predicted:
        """Raises `InvalidInput` when the chunk lacks a column that the model needs,
        `Unavailable` when the model's process ended."""
        rejected: dict[int, str] = {}
        read = self._reader.read(rows, rejected)
        good = np.array([i for i in range(rows.num_rows) if i not in rejected], dtype=np.int64)
        parts: list[tuple[Array, Answer]] = []
        for group in read.groups(good):
            self._answer(group, read, parts, rejected)
        return Predicted(self._output.of(rows, parts), rejected)

    def _answer(
        self,
        places: Array,
        rows: Rows,
        parts: list[tuple[Array, Answer]],
        rejected: dict[int, str],
    ) -> None:
        """Predict; where the model refuses, halve until the rows that it minds are alone."""
        try:
            parts.append((places, self._predict(rows.feeds(places))))
        except Unavailable:
            raise
        except Exception as error:
            if len(places) == 1:
                rejected[int(places[0])] = error.text if isinstance(error, Refusal) else str(error)
                return
            middle = len(places) // 2
            for half in (places[:middle], places[middle:]):
                self._answer(half, rows, parts, rejected)


class OutputTable:
    """What is written of a model's answers. `only`: without the input's columns."""

    def __init__(self, about: Description, *, only: bool) -> None:
        self._about = about
        self._only = only

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """The output's columns when no row was predicted."""
        rows = pa.table({name: pa.array([], pa.string()) for name in names})
        columns = [] if self._only else self._own(rows)
        names = [name for name, _ in columns]
        for output in self._about.outputs:
            names += self._labels(output.name) or [output.name]
        return pa.schema([(name, pa.string()) for name in names])

    def of(self, rows: pa.Table, parts: list[tuple[Array, Answer]]) -> pa.Table:
        """`parts` are the places of rows and their answers, in any order."""
        if not parts:
            return self.schema(rows.column_names).empty_table()
        places = np.concatenate([where for where, _ in parts])
        order = np.argsort(places)
        columns = [] if self._only else self._own(rows.take(pa.array(places[order])))
        for number, output in enumerate(self._about.outputs):
            values = _together([answer.outputs[number] for _, answer in parts])
            columns += self._named(output.name, values[order])
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
            return [(name, pa.array([_cell(v) for v in values.tolist()]))]
        return [(name, pa.array(values))]


def _together(arrays: list[Array]) -> Array:
    """All rows; where they differ in their other sizes, an object array of lists."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return texts([row.tolist() for array in arrays for row in array])


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else str(value)


def _word(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
