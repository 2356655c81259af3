"""Rows of a file or dataset in chunks of a fixed size, never all of them in memory."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from volant.errors import InvalidInput

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_BLOCK = 4 << 20  # bytes of text that are parsed at once
_LONG = re.compile(rb"[0-9]{19}")  # such a whole number may have more than 64 bits
_EXACT = 2**53  # whole numbers up to here are the same as floats


@dataclass
class Broken:
    """A row that can't even be split into columns; `line` is None where unknown."""

    line: int | None
    raw: str
    reason: str


@dataclass
class Source:
    """Where rows come from. `total` tells their number, where it isn't known as it is
    expected after the rows so far, None before any. `schema` has the columns, also where
    there is no row; None where only the rows tell."""

    pieces: Iterator[pa.Table]
    total: Callable[[], float | None]
    schema: pa.Schema | None = None
    broken: list[Broken] = field(default_factory=list[Broken])


def format_of(path: Path, given: str | None) -> str:
    """The file's format: as given, else by its name. Raises `InvalidInput`."""
    found = given or FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(
            f"{path.name} doesn't tell its format by its name.",
            "Name it .csv, .parquet or .jsonl, or give the format.",
            code="batch_format",
        )
    return found


def open_source(path: Path, kind: str, rows: int) -> Source:
    """The rows of `path`, in pieces of any size. Raises `InvalidInput` when it isn't a
    file of that kind."""
    try:
        if kind == "parquet":
            return _parquet(path, rows)
        return _csv(path) if kind == "csv" else _jsonl(path, rows)
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {path}.", "Check the path.") from error
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: Exception) -> InvalidInput:
    """What to say when reading stops in the middle."""
    reason = str(error).splitlines()[0]
    other = isinstance(error, UnicodeDecodeError) or "invalid UTF8" in reason
    return InvalidInput(
        f"{path} can't be read: {reason}",
        "It isn't UTF-8 text: save it as UTF-8." if other else "Mend the file, or write it again.",
        code="batch_input",
    )


def chunks(pieces: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """`pieces` as tables of exactly `rows` rows, but for the last one."""
    held: list[pa.Table] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += piece.num_rows
        while count >= rows:
            together = _joined(held)
            yield together.slice(0, rows)
            held = [together.slice(rows)]
            count -= rows
    if count:
        yield _joined(held)


def _joined(pieces: list[pa.Table]) -> pa.Table:
    """One table; a column whose types can't be one is text."""
    try:
        return pa.concat_tables(pieces, promote_options="permissive")
    except pa.ArrowException:
        names = dict.fromkeys(name for piece in pieces for name in piece.column_names)
        return pa.table({name: _one_column(name, pieces) for name in names})


def _one_column(name: str, pieces: list[pa.Table]) -> pa.ChunkedArray:
    parts = [
        piece.select([name])
        if name in piece.column_names
        else pa.table({name: pa.nulls(piece.num_rows)})
        for piece in pieces
    ]
    try:
        whole = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        return pa.chunked_array([as_text(part.column(0).to_pylist()) for part in parts])
    return whole.column(0)


def as_text(values: Sequence[Any]) -> pa.Array:
    """Values of any types as they would be written."""
    return pa.array([None if value is None else _word(value) for value in values], pa.string())


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, (dict, list, bool)):
        return str(value)
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # whole numbers of more than 64 bits
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _parquet(path: Path, rows: int) -> Source:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if len(set(names)) < len(names):
        raise InvalidInput(f"{path.name} names a column twice.", "Rename one of them.")
    pieces = (pa.Table.from_batches([b]) for b in file.iter_batches(batch_size=min(rows, 1 << 16)))
    return Source(pieces, lambda: file.metadata.num_rows, file.schema_arrow)


def _csv(path: Path) -> Source:
    with path.open("rb") as opened:
        head = opened.readline(1 << 20)
    if not head.strip():
        raise InvalidInput(f"{path.name} has no header.", "Give a CSV whose first line names it.")
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path.name} isn't UTF-8 text: {error.reason} at byte {error.start}.",
            "Save it as UTF-8.",
        ) from error
    delimiter = max(",;\t|", key=text.count)
    broken: list[Broken] = []

    def odd(row: Any) -> str:
        reason = f"{row.actual_columns} values instead of {row.expected_columns}"
        broken.append(Broken(row.number, row.text, reason))
        return "skip"

    parse = pacsv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=odd
    )
    read = pacsv.ReadOptions(block_size=_BLOCK, use_threads=False)
    with pacsv.open_csv(path, read_options=read, parse_options=parse) as opened:
        written = opened.schema.names
    names = [name.strip() for name in written]  # as a push to a dataset takes them
    if len(set(names)) < len(names):
        raise InvalidInput(f"{path.name} names a column twice.", "Rename one of them.")
    broken.clear()
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(written, pa.string()), strings_can_be_null=False
    )
    reader = pacsv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    schema = pa.schema([(name, pa.string()) for name in names])
    gauge = _Gauge(path.stat().st_size)

    def pieces() -> Iterator[pa.Table]:
        for batch in reader:
            gauge.add(batch.num_rows, _written(batch))
            yield pa.Table.from_batches([batch]).rename_columns(names)

    return Source(pieces(), gauge.total, schema, broken)


class _Gauge:
    """How many rows a file of `size` bytes has, going by those that were read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = self._bytes = 0

    def add(self, rows: int, size: int) -> None:
        self._rows += rows
        self._bytes += size

    def total(self) -> float | None:
        return self._rows * self._size / self._bytes if self._bytes > 0 else None


def _written(batch: pa.RecordBatch) -> int:
    """How many bytes of text a piece was, nearly: where in the file the reader is says
    nothing, since it reads ahead. A text has an offset of 4 bytes, and had a delimiter."""
    return batch.nbytes - 3 * batch.num_rows * batch.num_columns


def _jsonl(path: Path, rows: int) -> Source:
    gauge = _Gauge(path.stat().st_size)
    broken: list[Broken] = []
    file = path.open("rb")

    def pieces() -> Iterator[pa.Table]:
        held: list[dict[str, Any]] = []
        for number, line in enumerate(file, 1):
            gauge.add(1, len(line))
            if not line.strip():
                continue
            try:
                row = _parsed(line)
            except orjson.JSONDecodeError as error:
                broken.append(Broken(number, _text(line), f"not JSON: {error}"))
                continue
            if not isinstance(row, dict):
                broken.append(Broken(number, _text(line), "not a JSON object"))
                continue
            held.append(row)
            if len(held) >= min(rows, 1 << 14):
                yield _table(held)
                held = []
        if held:
            yield _table(held)

    return Source(pieces(), gauge.total, None, broken)


def _parsed(line: bytes) -> Any:
    """A line's value; its whole numbers with all their digits."""
    value = orjson.loads(line)
    if _LONG.search(line):
        with contextlib.suppress(RecursionError):
            return json.loads(line)
    return value


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\n")[:10_000]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    """Plain values of one type as they are; whatever is mixed or nested as text, and whole
    numbers that their column's type would change."""
    kinds = {type(value) for value in values if value is not None}
    mixed = kinds == {int, float}
    if mixed and any(type(value) is int and abs(value) > _EXACT for value in values):
        return as_text(values)
    if mixed or (len(kinds) <= 1 and kinds <= {int, float, bool, str}):
        try:
            return pa.array([float(v) if mixed and v is not None else v for v in values])
        except (pa.ArrowException, OverflowError):
            pass  # integers beyond 64 bits
    return as_text(values)
