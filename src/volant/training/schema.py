"""What a table's columns are, in Volant's words, and its target as an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.yamltext.problems import nearest

_FEW_CLASSES = 20

_ARROW_TESTS: tuple[tuple[ColumnType, tuple[Callable[[pa.DataType], bool], ...]], ...] = (
    (ColumnType.BOOLEAN, (pa.types.is_boolean,)),
    (ColumnType.INTEGER, (pa.types.is_integer,)),
    (ColumnType.NUMBER, (pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)),
    (ColumnType.TIMESTAMP, (pa.types.is_timestamp, pa.types.is_date)),
    (
        ColumnType.STRING,
        (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    ),
)


@dataclass(frozen=True, slots=True)
class Features:
    """The columns a model may use, in the table's order."""

    fields: tuple[Field, ...]
    unusable: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [field.name for field in self.fields]

    @property
    def types(self) -> list[str]:
        return [field.type for field in self.fields]


def column_type(kind: pa.DataType) -> ColumnType | None:
    """The `ColumnType` of an Arrow type; None for lists, structs and the like."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return next((ours for ours, tests in _ARROW_TESTS if any(test(kind) for test in tests)), None)


def features_of(table: pa.Table, target: str) -> Features:
    """Every column but the target; a field is nullable when a value of it is missing."""
    fields: list[Field] = []
    unusable: list[str] = []
    for name in table.column_names:
        if name == target:
            continue
        column = table.column(name)
        kind = column_type(column.type)
        if kind is None:
            unusable.append(name)
        else:
            fields.append(Field(name, kind.value, has_missing(column)))
    if not fields:
        raise InvalidInput(
            f"The data has no column to learn from beside the target {target!r}.",
            "Push data with at least one more column of numbers, text, booleans or timestamps.",
        )
    return Features(tuple(fields), tuple(unusable))


def has_missing(column: pa.ChunkedArray) -> bool:
    missing = column.is_null(nan_is_null=True) if pa.types.is_floating(column.type) else None
    return column.null_count > 0 or (missing is not None and True in missing.unique().to_pylist())


def require_target(table: pa.Table, target: str, dataset: str) -> None:
    """Raises `InvalidInput`, with the nearest name, when there is no such column."""
    if target in table.column_names:
        return
    near = nearest(target, table.column_names)
    columns = ", ".join(table.column_names)
    raise InvalidInput(
        f"The dataset {dataset!r} has no column {target!r} to predict.",
        f"Did you mean {near!r}? Set data.target to it."
        if near
        else f"Set data.target to one of: {columns}.",
        code="target_missing",
        details={"target": target, "columns": table.column_names},
    )


def without_null_target(table: pa.Table, target: str) -> tuple[pa.Table, int]:
    """The rows whose target is known, and how many weren't."""
    column = table.column(target)
    known = np.asarray(column.is_valid().to_numpy())
    if pa.types.is_floating(column.type):
        known = known & np.isfinite(values_of(column))
    kept = table.filter(pa.array(known))
    return kept, table.num_rows - kept.num_rows


def infer_task(column: pa.ChunkedArray, explicit: str | None) -> str:
    """`classification` for text, booleans and integers of at most 20 values; else
    `regression`; an explicit task wins where the column allows it.

    Raises `InvalidInput` when the target can't serve that task.
    """
    kind = column_type(column.type)
    if kind is None or kind is ColumnType.TIMESTAMP:
        raise InvalidInput(
            f"A target of type {column.type} can't be predicted.",
            "Choose a target of numbers, text or booleans.",
        )
    if explicit is not None:
        if explicit == "regression" and kind is ColumnType.STRING:
            raise InvalidInput(
                "Regression needs a target of numbers, and this one holds text.",
                "Set train.automl.task to classification, or clean the target column.",
            )
        return explicit
    if kind in (ColumnType.STRING, ColumnType.BOOLEAN):
        return "classification"
    few = kind is ColumnType.INTEGER and len(column.unique()) <= _FEW_CLASSES
    return "classification" if few else "regression"


def labels_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """A classification target [n]: text (object), int64 or bool.

    Whole numbers stored as floats become integers. Raises `InvalidInput` for fractions.
    """
    kind = column_type(column.type)
    if kind is ColumnType.BOOLEAN:
        return np.array(column.to_pylist(), dtype=bool)
    if kind is ColumnType.INTEGER:
        return np.asarray(pc.cast(column, pa.int64()).to_numpy())
    if kind is ColumnType.NUMBER:
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())
        fraction = next((v for v in values.tolist() if not math.isclose(v, round(v))), None)
        if fraction is not None:
            raise InvalidInput(
                f"A classification target can't hold fractions such as {fraction!r}.",
                "Set train.automl.task to regression, or turn the target into classes.",
            )
        return np.round(values).astype(np.int64)
    return np.array(column.to_pylist(), dtype=object)


def values_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A regression target [n]."""
    if column_type(column.type) is ColumnType.BOOLEAN:
        column = pc.cast(column, pa.int8())
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())


def target_of(table: pa.Table, target: str, task: str) -> NDArray[Any]:
    """`labels_of` or `values_of` the target column."""
    column = table.column(target)
    return labels_of(column) if task == "classification" else values_of(column)


def classes_of(labels: NDArray[Any]) -> list[Any]:
    """The distinct labels in ascending order, as JSON values."""
    return np.unique(labels).tolist()


def joined(names: Sequence[str], most: int = 5) -> str:
    """For a sentence: `a, b, c and 4 more`."""
    head = ", ".join(names[:most])
    return head if len(names) <= most else f"{head} and {len(names) - most} more"
