"""Delivered files into tables: CSV, Parquet and JSON lines."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from volant.data.csv_file import read_csv
from volant.data.encoding import utf8_text
from volant.data.filerows import FileRows, check_names, json_rows, plain_column
from volant.data.jsonl_file import read_jsonl
from volant.data.options import FileOptions
from volant.errors import InvalidInput, Unavailable

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_PARQUET = b"PAR1"
_INDEX = "__index_level_"  # how pandas names an index that it writes as a column


def read_file(path: Path, name: str | None = None, options: FileOptions | None = None) -> FileRows:
    """The rows of one file.

    Args:
        path: Where it lies.
        name: What messages call it; the path's own name when None.
        options: What the user said of it. Its format is the option's, else what its
            first bytes tell (Parquet), else its extension's, else JSON lines if it
            begins with `{`, else CSV.

    Raises:
        InvalidInput: the file is missing, empty, or can't be read as its format.
        Unavailable: the file can't be opened.
    """
    name = name or path.name
    options = options or FileOptions()
    data = _open(path, name)
    if not data.size:
        raise InvalidInput(f"{name} is empty.", "Push a file with rows.", code="file_empty")
    kind = options.format or _format(data, name)
    if kind == "parquet":
        return _read_parquet(data, name)
    text = utf8_text(data, name, options.encoding)
    if kind == "jsonl":
        return read_jsonl(text, name)
    return read_csv(text, name, options.delimiter)


def _open(path: Path, name: str) -> pa.Buffer:
    try:
        if path.is_dir():
            raise InvalidInput(f"{name} is a folder.", "Push the files in it.", code="file_folder")
        if path.stat().st_size == 0:
            return pa.py_buffer(b"")
        return pa.memory_map(str(path)).read_buffer()
    except FileNotFoundError as error:
        raise InvalidInput(
            f"There is no file {name}.", "Check its path and push it again.", code="file_missing"
        ) from error
    except OSError as error:
        raise Unavailable(
            f"{name} can't be opened: {error.strerror or error}.", "Check its permissions."
        ) from error


def _format(data: pa.Buffer, name: str) -> str:
    if bytes(data[:4]) == _PARQUET:
        return "parquet"
    known = _SUFFIXES.get(Path(name).suffix.lower())
    if known:
        return known
    return "jsonl" if bytes(data[:1]) == b"{" else "csv"


def _read_parquet(data: pa.Buffer, name: str) -> FileRows:
    if bytes(data[:4]) != _PARQUET:
        raise InvalidInput(
            f"{name} isn't a Parquet file: it begins with {bytes(data[:4])!r}.",
            "Write it again as Parquet, or give the option format if it is another format.",
            code="parquet_broken",
        )
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(
            f"{name} is a damaged Parquet file: {str(error).splitlines()[0]}",
            "Write or copy it again: it was probably cut short.",
            code="parquet_broken",
        ) from error
    names = [one for one in table.column_names if not one.startswith(_INDEX)]
    check_names([one.strip() for one in names], name)
    dropped = len(table.column_names) - len(names)
    plain = pa.table(
        [plain_column(table.column(one), one, name) for one in names],
        names=[one.strip() for one in names],
    )
    if not plain.num_rows:
        raise InvalidInput(f"{name} has no rows.", "Push a file with rows.", code="file_empty")
    warning = f"{name}: the index column that pandas wrote was left out."
    return FileRows(
        name=name,
        table=plain,
        broken=(),
        warnings=(warning,) if dropped else (),
        lines=lambda indexes: (indexes + 1).tolist(),
        raws=lambda indexes: json_rows(plain, indexes),
    )
