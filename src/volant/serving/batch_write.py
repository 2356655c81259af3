"""Predictions into chunk files, and chunk files into one whole output."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from volant.durable import sync, whole
from volant.serving.batch_read import as_text


def write_chunk(rows: pa.Table, path: Path, kind: str) -> None:
    """One chunk, on the disk when this returns. A CSV's header comes with the join."""
    if kind == "parquet":
        pq.write_table(rows, path)
    elif kind == "csv":
        _write_csv(_flat(rows), path)
    else:
        with path.open("wb") as file:
            for row in rows.to_pylist():
                file.write(orjson.dumps(row, default=str) + b"\n")
    sync(path)


def join(chunks: Sequence[Path], target: Path, kind: str, empty: pa.Schema) -> None:
    """All chunks as one file that appears whole, under `target`'s name."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        if kind == "parquet":
            _join_parquet(chunks, partial, empty)
        else:
            with partial.open("wb") as file:
                if kind == "csv":
                    file.write(_header(empty.names))
                for chunk in chunks:
                    with chunk.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
        sync(partial)
        partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(target.parent)


def _join_parquet(chunks: Sequence[Path], target: Path, empty: pa.Schema) -> None:
    full = [chunk for chunk in chunks if pq.read_metadata(chunk).num_rows]
    schemas = [pq.read_schema(chunk) for chunk in full or chunks] or [empty]
    try:
        _write_parquet(full, target, _one_schema(schemas, exact=False))
    except pa.ArrowInvalid:  # a whole number that the other chunks' floats can't be
        _write_parquet(full, target, _one_schema(schemas, exact=True))


def _one_schema(schemas: Sequence[pa.Schema], *, exact: bool) -> pa.Schema:
    """Of all chunks; a column whose types can't be one is text. `exact`: so is one that
    holds whole numbers here and others there."""
    kinds: dict[str, list[pa.DataType]] = {}
    for name, kind in ((field.name, field.type) for schema in schemas for field in schema):
        found = kinds.setdefault(name, [])
        if kind not in found and not pa.types.is_null(kind):
            found.append(kind)
    return pa.schema([(name, _one_type(found, exact=exact)) for name, found in kinds.items()])


def _one_type(kinds: Sequence[pa.DataType], *, exact: bool) -> pa.DataType:
    if len(kinds) < 2:
        return kinds[0] if kinds else pa.null()
    if exact:
        return pa.string()
    try:
        parts = [pa.schema([("", kind)]) for kind in kinds]
        return pa.unify_schemas(parts, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _write_parquet(chunks: Sequence[Path], target: Path, schema: pa.Schema) -> None:
    with pq.ParquetWriter(target, schema) as writer:
        for chunk in chunks:
            table = pq.read_table(chunk)
            writer.write_table(pa.table([_cast(table, field) for field in schema], schema=schema))


def _cast(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    column = table.column(field.name)
    if pa.types.is_string(field.type) and column.type != field.type:
        return pa.chunked_array([as_text(column.to_pylist())])
    return column.cast(field.type)


def write_lines(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """JSON lines, on the disk when this returns."""
    with path.open("wb") as file:
        for line in lines:
            file.write(orjson.dumps(line, default=str) + b"\n")
    sync(path)


def write_state(state: dict[str, Any], path: Path) -> None:
    """Replace `path` as a whole."""
    with whole(path) as draft:
        draft.write_bytes(orjson.dumps(state))


def _write_csv(rows: pa.Table, path: Path) -> None:
    """Quotes only where there must be some: all or nothing is what Arrow's writer can do."""
    try:
        plain = pacsv.WriteOptions(include_header=False, quoting_style="none")
        pacsv.write_csv(rows, path, plain)
    except pa.ArrowInvalid:
        pacsv.write_csv(rows, path, pacsv.WriteOptions(include_header=False))


def _header(names: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def _flat(rows: pa.Table) -> pa.Table:
    """CSV has no lists: they go as JSON."""
    columns: dict[str, Any] = {}
    for name in rows.column_names:
        column = rows.column(name)
        if pa.types.is_nested(column.type):
            texts = [None if v is None else orjson.dumps(v).decode() for v in column.to_pylist()]
            column = pa.array(texts, pa.string())
        columns[name] = column
    return pa.table(columns)
