"""An example as people write one: rows with columns, tensors, or a bare matrix."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from volant.domain.model import Field
from volant.errors import InvalidInput

_MOST_ROWS = 1000
_FIX = (
    'Give rows as CSV or JSON ([{"a": 1}], {"columns": ["a"], "data": [[1]]}, [[1]]), or tensors '
    'as {"inputs": [{"name", "shape", "datatype", "data"}]}.'
)


@dataclass(frozen=True, slots=True)
class Example:
    """Exactly one is set: `columns` by name, `tensors` as the protocol's inputs, or
    `matrix` without names."""

    columns: Mapping[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    tensors: Sequence[Mapping[str, Any]] = ()
    matrix: Sequence[Any] | None = None

    def fields(self) -> tuple[Field, ...]:
        """The columns' types, as their values have them."""
        return tuple(
            Field(name, _type_of(values), any(v is None for v in values))
            for name, values in self.columns.items()
        )


def read_example(text: str, form: str) -> Example:
    """`form` is `json` or `csv`. Raises `InvalidInput` for what is neither."""
    if form == "csv":
        return _from_csv(text)
    try:
        body = json.loads(text)
    except ValueError as error:
        raise _wrong(f"The example isn't JSON: {error}.") from None
    return _from_json(body)


def _from_csv(text: str) -> Example:
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise _wrong(f"The example isn't CSV: {error}.") from None
    rows = [row for row in rows if row][: _MOST_ROWS + 1]
    if len(rows) < 2 or len(set(rows[0])) != len(rows[0]):
        raise _wrong("The example needs a header of different names and at least one row.")
    if any(len(row) != len(rows[0]) for row in rows):
        raise _wrong("A row of the example has another number of cells than its header.")
    return Example({name: _typed([row[i] for row in rows[1:]]) for i, name in enumerate(rows[0])})


def _typed(cells: list[str]) -> list[Any]:
    """A column of text as the narrowest kind that holds all of it; empty is missing."""
    for read in (_whole, float, _truth):
        try:
            return [None if cell == "" else read(cell) for cell in cells]
        except ValueError:
            continue
    return [None if cell == "" else cell for cell in cells]


def _whole(cell: str) -> int:
    if cell.strip() != cell or "_" in cell:
        raise ValueError(cell)
    return int(cell)


def _truth(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _from_json(body: Any) -> Example:
    if isinstance(body, list) and body:
        rows = cast("list[Any]", body[:_MOST_ROWS])
        if all(isinstance(row, dict) for row in rows):
            names = list(dict.fromkeys(str(k) for row in rows for k in row))
            return _columns({name: [row.get(name) for row in rows] for name in names})
        if not _values(rows):
            raise _wrong("The example holds no values.")
        return Example(matrix=rows)
    if not isinstance(body, dict):
        raise _wrong("The example is neither an object nor a list.")
    given = cast("dict[str, Any]", body)
    if "dataframe_split" in given:
        given = given["dataframe_split"]
        if not isinstance(given, dict):
            raise _wrong("The example's dataframe_split is no object.")
    if isinstance(given.get("inputs"), list) and given["inputs"]:
        return Example(tensors=_tensors(given["inputs"]))
    if set(given) >= {"columns", "data"}:
        return _split(given["columns"], given["data"])
    if given and all(isinstance(v, list) for v in given.values()):
        return _columns({name: values[:_MOST_ROWS] for name, values in given.items()})
    if given and not any(isinstance(v, list | dict) for v in given.values()):
        return _columns({name: [value] for name, value in given.items()})
    raise _wrong("The example has a form that isn't known.")


def _split(names: Any, data: Any) -> Example:
    """`{"columns": [name], "data": [row]}`."""
    if not isinstance(names, list) or not isinstance(data, list):
        raise _wrong("The example's columns and data aren't lists.")
    columns = [str(name) for name in cast("list[Any]", names)]
    rows = cast("list[Any]", data)[:_MOST_ROWS]
    if len(set(columns)) != len(columns):
        raise _wrong("Two columns of the example have the same name.")
    if any(
        not isinstance(row, list) or len(cast("list[Any]", row)) != len(columns) for row in rows
    ):
        raise _wrong("A row of the example's data has another number of values than columns.")
    return _columns({name: [row[i] for row in rows] for i, name in enumerate(columns)})


def _values(nested: Any) -> bool:
    """Whether a list that is nested anyhow holds a value that isn't missing."""
    if isinstance(nested, list):
        return any(_values(one) for one in cast("list[Any]", nested))
    return nested is not None


def _columns(columns: dict[str, list[Any]]) -> Example:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise _wrong("The example's columns need at least one row, and the same number of them.")
    if any(isinstance(v, list | dict) for values in columns.values() for v in values):
        raise _wrong("A cell of the example holds a list or an object.")
    return Example(columns)


def _tensors(inputs: list[Any]) -> list[Mapping[str, Any]]:
    for one in inputs:
        if not isinstance(one, dict) or not {"name", "shape", "datatype", "data"} <= set(one):
            raise _wrong("A tensor of the example lacks name, shape, datatype or data.")
    return inputs


def _type_of(values: Sequence[Any]) -> str:
    known = [v for v in values if v is not None]
    if known and all(isinstance(v, bool) for v in known):
        return "boolean"
    if known and all(isinstance(v, int) and not isinstance(v, bool) for v in known):
        return "integer"
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        return "number"
    texts = [str(v) for v in known]
    return "timestamp" if texts and all(map(_is_time, texts)) else "string"


def _is_time(text: str) -> bool:
    if len(text) < 10 or text[4:5] != "-":
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def plain(value: Any) -> Any:
    """A cell as JSON has it: what isn't finite is missing."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrong(what: str) -> InvalidInput:
    return InvalidInput(what, _FIX, code="model.example")
