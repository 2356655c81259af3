"""JSON lines: one object a line; whatever else a line holds is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from volant.data.arrow import pc
from volant.data.encoding import Text
from volant.data.filerows import BrokenRow, FileRows, check_names
from volant.errors import InvalidInput

_CHUNK = 100_000  # objects turned into columns at once


def read_jsonl(text: Text, name: str) -> FileRows:
    """The file's rows. Its columns are all keys, in the order of their first appearance.

    A column has its JSON type when all its values have one (integers and fractions
    together are fractions); else all are text. Lists and objects are JSON text.

    Raises:
        InvalidInput: no line holds an object.
    """
    data = bytes(text.data)
    if not data.strip():
        raise InvalidInput(f"{name} is empty.", "Push a file with one JSON object a line.")
    broken: list[BrokenRow] = []
    lines: list[int] = []
    chunks: list[pa.Table] = []
    objects: list[dict[str, Any]] = []
    for number, row in _objects(data, broken):
        lines.append(number)
        objects.append(row)
        if len(objects) == _CHUNK:
            chunks.append(_table(objects))
            objects = []
    if objects:
        chunks.append(_table(objects))
    if not chunks:
        raise _no_objects(data, name, broken)
    table = concat(chunks)
    check_names(table.column_names, name)
    numbers = np.array(lines, dtype=np.int64)
    return FileRows(
        name=name,
        table=table,
        broken=tuple(broken),
        warnings=text.warnings,
        lines=lambda indexes: numbers[indexes].tolist(),
        raws=lambda indexes: _raws(data, numbers[indexes].tolist()),
    )


def concat(tables: list[pa.Table]) -> pa.Table:
    """One table of all columns; where types differ, numbers become double, else text."""
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    kinds = {name: _common([t.schema.field(name).type for t in tables if name in t.column_names])
             for name in names}  # fmt: skip
    fitted = [
        pa.table([_as(table, name, kinds[name]) for name in names], names=names) for table in tables
    ]
    return pa.concat_tables(fitted)


def _common(kinds: list[pa.DataType]) -> pa.DataType:
    seen = set(kinds) - {pa.null()}
    if not seen:
        return pa.string()
    if len(seen) == 1:
        return seen.pop()
    return pa.float64() if seen == {pa.int64(), pa.float64()} else pa.string()


def _as(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, kind)])
    column = table.column(name)
    return column if column.type == kind else pc.cast(column, kind, safe=False)


def _objects(data: bytes, broken: list[BrokenRow]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = _lenient(number, line, broken)
            if row is None:
                continue
        if isinstance(row, dict):
            yield number, row
        else:
            reason = f"the line holds a JSON {_noun(row)}, not an object"
            broken.append(BrokenRow(number, _shown(line), reason))


def _lenient(number: int, line: bytes, broken: list[BrokenRow]) -> Any:
    """The standard library's reader takes NaN and Infinity, which many writers write."""
    try:
        return json.loads(line)
    except ValueError as error:
        broken.append(BrokenRow(number, _shown(line), f"the line isn't JSON: {error}"))
        return None


def _shown(line: bytes) -> str:
    return line.decode("utf-8").rstrip("\r")


def _noun(value: Any) -> str:
    return {list: "list", str: "string", bool: "boolean", type(None): "null"}.get(
        type(value), "number"
    )


def _table(objects: list[dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in objects for name in row))
    columns = [_column([row.get(name) for row in objects]) for name in names]
    return pa.table(columns, names=[name.strip() for name in names])


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} and bool(kinds):
        try:
            return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
        except (pa.ArrowInvalid, OverflowError):
            pass  # an integer of more than 64 bits: as text it keeps its digits
    elif len(kinds) <= 1 and kinds <= {str, bool}:
        return pa.array(values, pa.bool_() if kinds == {bool} else pa.string())
    return pa.array([text_of(value) for value in values], pa.string())


def text_of(value: Any) -> str | None:
    """A JSON value as text: strings as they are, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _raws(data: bytes, numbers: list[int]) -> list[str]:
    lines = data.split(b"\n")
    return [_shown(lines[number - 1]) for number in numbers]


def _no_objects(data: bytes, name: str, broken: list[BrokenRow]) -> InvalidInput:
    if data.lstrip().startswith(b"["):
        return InvalidInput(
            f"{name} is one JSON list, not JSON lines.",
            "Write one object a line, for instance with: jq -c '.[]' FILE.",
            code="json_list",
        )
    first = broken[0]
    return InvalidInput(
        f"No line of {name} is a JSON object: in line {first.line}, {first.reason}.",
        "Write one object a line, or give the option format if it is another format.",
        code="json_lines",
        details={"line": first.line},
    )
