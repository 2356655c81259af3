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
    chunks = [chunk for chunk in chunks if pq.read_metadata(chunk).num_rows]
    schemas = [pq.read_schema(chunk) for chunk in chunks] or [empty]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    with pq.ParquetWriter(target, schema) as writer:
        for chunk in chunks:
            table = pq.read_table(chunk)
            missing = {n: pa.nulls(len(table), schema.field(n).type) for n in schema.names}
            columns = {
                n: table.column(n) if n in table.column_names else missing[n] for n in missing
            }
            writer.write_table(pa.table(columns).cast(schema))


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
