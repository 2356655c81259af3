"""Arrow types and Delta types: which rows fit which table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from volant.errors import InvalidInput

_TIME = pa.timestamp("us", tz="UTC")


def delta_ready(rows: pa.Table) -> pa.Table:
    """`rows` with types that every Delta reader knows.

    Times become microseconds in UTC (one without a zone counts as UTC), dictionaries
    and the variants of text become plain text, unsigned integers signed ones, and a
    column of nothing but nulls becomes text.
    """
    columns = [_ready(rows.column(index)) for index in range(rows.num_columns)]
    return pa.table(columns, names=rows.column_names)


def _ready(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _ready(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        return column.cast(_TIME, safe=False)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_unsigned_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    return column


def new_fields(rows: pa.Schema, table: pa.Schema) -> list[pa.Field]:
    """The fields of `rows` that `table` lacks."""
    return [field for field in rows if field.name not in table.names]


def conform(rows: pa.Table, schema: pa.Schema, table: str) -> pa.Table:
    """`rows` in the table's column order and types, its new columns last.

    Raises `InvalidInput` when a column's values don't fit the table's type.
    """
    columns: dict[str, Any] = {}
    for field in schema:
        if field.name in rows.column_names:
            columns[field.name] = _fit(rows.column(field.name), field, table)
    for field in new_fields(rows.schema, schema):
        columns[field.name] = rows.column(field.name)
    return pa.table(columns)


def _fit(column: pa.ChunkedArray, field: pa.Field, table: str) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    empty = column.null_count == len(column)
    if empty or (_is_number(column.type) and _is_number(field.type)):
        try:
            return pc.cast(column, field.type)  # raises where a value would change
        except pa.ArrowInvalid:
            pass
    raise InvalidInput(
        f"Column {field.name!r} holds {column.type} values, but in table {table!r} it is"
        f" {field.type}.",
        "Keep the column's type, give the new column another name, or push to another dataset.",
        code="type_conflict",
        details={"column": field.name, "given": str(column.type), "table": str(field.type)},
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
