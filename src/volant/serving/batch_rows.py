"""One chunk of rows → the model's arrays → predictions, row by row where it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.errors import Unavailable
from volant.serving.datatypes import DTYPE, FLOATS, Array, texts
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

    def predict(self, rows: pa.Table, carried: pa.Table | None = None) -> Predicted:
        """`carried` has what the output has of each row; all columns when absent.

        Raises `InvalidInput` when the chunk lacks a column that the model needs,
        `Unavailable` when the model's process ended."""
        rejected: dict[int, str] = {}
        read = self._reader.read(rows, rejected)
        good = np.array([i for i in range(rows.num_rows) if i not in rejected], dtype=np.int64)
        parts: list[tuple[Array, Answer]] = []
        for group in read.groups(good):
            self._answer(group, read, parts, rejected)
        return Predicted(self._output.of(rows if carried is None else carried, parts), rejected)

    def _answer(
        self,
        places: Array,
        rows: Rows,
        parts: list[tuple[Array, Answer]],
        rejected: dict[int, str],
    ) -> None:
        """Predict; where the model refuses, halve until the rows that it minds are alone."""
        try:
            answer = self._predict(rows.feeds(places))
            self._output.check(answer, len(places))
            parts.append((places, answer))
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

    def named(self, names: Sequence[str], before: Sequence[str] = ()) -> list[str]:
        """What the input's columns are called in the output; `before` is what the first of
        them are already. One that is named like a prediction gives way."""
        taken = set(self._predictions())
        called, used = list(before), taken | set(names) | set(before)
        for name in names[len(called) :]:
            own, number = name, 1
            if name in taken or name in called:
                own = f"input_{name}"
                while own in used:
                    number += 1
                    own = f"input_{name}_{number}"
            called.append(own)
            used.add(own)
        return called

    def check(self, answer: Answer, rows: int) -> None:
        """Raises `Refusal` for an answer that isn't one value a row: nobody could tell
        which value is whose."""
        for output, values in zip(self._about.outputs, answer.outputs, strict=True):
            if values.shape[:1] != (rows,):
                found = values.shape[0] if values.ndim else "no"
                raise Refusal(
                    500, f"the model answered {found} values of {output.name!r} to {rows} rows"
                )

    def schema(self, carried: pa.Schema) -> pa.Schema:
        """The output's columns when no row was predicted."""
        fields = [] if self._only else list(carried)
        for output in self._about.outputs:
            labels = self._labels(output.name)
            kind = _arrow_type(output.datatype, 1 if labels else len(output.shape))
            fields += [pa.field(name, kind) for name in labels or [output.name]]
        return pa.schema(fields)

    def of(self, carried: pa.Table, parts: list[tuple[Array, Answer]]) -> pa.Table:
        """`parts` are the places of rows and their answers, in any order."""
        if not parts:
            return self.schema(carried.schema).empty_table()
        places = np.concatenate([where for where, _ in parts])
        order = np.argsort(places)
        columns: list[tuple[str, Any]] = []
        if not self._only:
            rows = carried.take(pa.array(places[order]))
            columns = list(zip(rows.column_names, rows.columns, strict=True))
        for number, output in enumerate(self._about.outputs):
            values = _together([answer.outputs[number] for _, answer in parts])
            columns += self._named(output.name, values[order])
        return pa.table([c for _, c in columns], names=[n for n, _ in columns])

    def _predictions(self) -> Iterator[str]:
        for output in self._about.outputs:
            yield output.name
            yield from self._labels(output.name)

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


def _arrow_type(datatype: str, sizes: int) -> pa.DataType:
    """Of a value a row, as `_named` writes it: in lists where the shape has several sizes."""
    if datatype == "BYTES":
        kind = pa.string()
    elif sizes > 1 and datatype != "BOOL":
        kind = pa.float64() if datatype in FLOATS else pa.int64()
    else:
        kind = pa.from_numpy_dtype(DTYPE[datatype])
    for _ in range(sizes - 1):
        kind = pa.list_(kind)
    return kind


def _together(arrays: list[Array]) -> Array:
    """All rows; where they differ in their other sizes, an object array of lists."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return texts([row.tolist() for array in arrays for row in array])


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else str(value)


def _word(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
