"""Rows of a file or dataset in chunks of a fixed size, never all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@dataclass
class Broken:
    """A row that can't even be split into columns; `line` is None where unknown."""

    line: int | None
    raw: str
    reason: str


@dataclass
class Source:
    """Where rows come from. `total` is their number, None when that isn't known;
    `share` tells how much was read of what there is, from 0 to 1."""

    pieces: Iterator[pa.Table]
    total: int | None = None
    share: Callable[[], float | None] = lambda: None
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
    return InvalidInput(
        f"{path} can't be read: {str(error).splitlines()[0]}",
        "Mend the file, or write it again; what was predicted before that is kept.",
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
    return pa.concat_tables(pieces, promote_options="permissive")


def _parquet(path: Path, rows: int) -> Source:
    file = pq.ParquetFile(path)
    pieces = (pa.Table.from_batches([b]) for b in file.iter_batches(batch_size=min(rows, 1 << 16)))
    return Source(pieces, file.metadata.num_rows)


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

    size = path.stat().st_size
    file = pa.OSFile(str(path))
    parse = pacsv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=odd
    )
    read = pacsv.ReadOptions(block_size=_BLOCK, use_threads=False)
    names = pacsv.open_csv(path, read_options=read, parse_options=parse).schema.names
    if len(set(names)) < len(names):
        raise InvalidInput(f"{path.name} names a column twice.", "Rename one of them.")
    broken.clear()
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    reader = pacsv.open_csv(file, read_options=read, parse_options=parse, convert_options=convert)
    pieces = (pa.Table.from_batches([batch]) for batch in reader)
    return Source(pieces, None, lambda: min(file.tell() / size, 1.0) if size else None, broken)


def _jsonl(path: Path, rows: int) -> Source:
    size = path.stat().st_size
    broken: list[Broken] = []
    file = path.open("rb")

    def pieces() -> Iterator[pa.Table]:
        held: list[dict[str, Any]] = []
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
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

    return Source(pieces(), None, lambda: min(file.tell() / size, 1.0) if size else None, broken)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\n")[:10_000]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    """Plain values of one type as they are; whatever is mixed or nested as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {int, float} or kinds <= {bool} or kinds <= {str}:
        try:
            return pa.array([float(v) if float in kinds and v is not None else v for v in values])
        except (pa.ArrowException, OverflowError):
            pass  # integers beyond 64 bits
    return pa.array(
        [
            v
            if v is None or isinstance(v, str)
            else orjson.dumps(v).decode()
            if isinstance(v, (dict, list, bool))
            else str(v)
            for v in values
        ],
        pa.string(),
    )
