"""The first step of every pipeline: rows of any kind in, one array out. And a shell
around estimators that aren't scikit-learn's.

This file travels inside each pickled model (by value, see `package`), so that a
model loads where Volant isn't installed. It therefore uses nothing of Volant, and
its pyarrow and pandas imports are where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metaestimators import available_if

Array = NDArray[Any]

# What a timestamp becomes, in this order: days since 1970-01-01 UTC with their
# fraction, month 1-12, day 1-31, weekday 0 (Monday)-6, hour 0-23 with its fraction.
TIMESTAMP_PARTS = ("days", "month", "day", "weekday", "hour")


class TableInput(TransformerMixin, BaseEstimator):
    """Turn rows into what the next step was fitted on. Stateless.

    Args:
        names: The columns wanted, in order; others are ignored.
        types: Their `ColumnType` values.
        form: `matrix`: float32 [n, slots], or object when there are strings (numbers
            are then Python floats with float32's value); `frame`: a pandas DataFrame;
            `table`: a pyarrow Table; `values`: float64 or object [n, columns].

    Accepts a pyarrow Table, a pandas DataFrame, a mapping of column to values, or a
    two-dimensional array (or list of rows) with the columns in order. A missing
    number is NaN, a missing string is "" (in a matrix) or None; an empty string and an
    infinite number count as missing. Numbers are rounded to float32 before the model is
    fitted, so that a runtime that only has float32 sees the same side of every
    threshold. A timestamp becomes `TIMESTAMP_PARTS`.

    Raises:
        ValueError: a column is absent, or a value can't be of its column's type.
    """

    def __init__(self, names: Sequence[str], types: Sequence[str], form: str = "matrix") -> None:
        self.names = names
        self.types = types
        self.form = form

    def fit(self, X: Any, y: Any = None) -> TableInput:
        """Nothing to learn."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: Any) -> Any:
        """[n, …] in the form asked for."""
        columns = {
            name: coerce(column_of(X, name, index), kind, name)
            for index, (name, kind) in enumerate(zip(self.names, self.types, strict=True))
        }
        if self.form == "frame":
            return to_frame(columns, self.types)
        if self.form == "table":
            return to_table(columns, self.types)
        return to_matrix(columns, self.types, rounded=self.form == "matrix")


class ForeignEstimator(BaseEstimator):
    """A fitted `model` that has `predict` but isn't a scikit-learn estimator, so that it
    can be the last step of a pipeline."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: Any, y: Any = None) -> ForeignEstimator:
        """It is fitted already."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> Any:
        """The model's own; an `AttributeError` where it has none."""
        return self.model.classes_

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)

    @available_if(lambda self: hasattr(self.model, "predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        return self.model.predict_proba(X)


def column_of(rows: Any, name: str, index: int) -> Array:
    """One column as a one-dimensional array, missing values as None or NaN."""
    if hasattr(rows, "column_names"):  # pyarrow
        if name not in rows.column_names:
            raise ValueError(f"column {name!r} is absent")
        return _from_arrow(rows.column(name))
    if hasattr(rows, "iloc"):  # pandas
        if name not in rows.columns:
            raise ValueError(f"column {name!r} is absent")
        return _from_series(rows[name])
    if isinstance(rows, Mapping):
        if name not in rows:
            raise ValueError(f"column {name!r} is absent")
        return _from_values(rows[name])
    table = rows if isinstance(rows, np.ndarray) else np.array(list(map(list, rows)), dtype=object)
    if table.ndim != 2 or index >= table.shape[1]:
        raise ValueError(f"rows of shape {table.shape} have no column {index} ({name!r})")
    return table[:, index]


def _from_arrow(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = pc.cast(column, pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        micros = pc.fill_null(pc.cast(moments, pa.int64()), np.iinfo(np.int64).min)  # NaT
        return np.asarray(micros.to_numpy()).view("datetime64[us]")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())
    if pa.types.is_boolean(kind):
        return np.asarray(pc.cast(pc.cast(column, pa.int8()), pa.float64()).to_numpy())
    return np.array(column.to_pylist(), dtype=object)


def _from_series(series: Any) -> Array:
    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, np.dtype) and kind in "fiubM":
        return np.asarray(series.to_numpy())
    if kind == "M":  # with a time zone
        return np.asarray(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    values = series.to_numpy(dtype=object, copy=True)
    values[series.isna().to_numpy()] = None
    return values


def _from_values(values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return values.ravel()
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def coerce(column: Array, kind: str, name: str) -> Array:
    """float64 for numbers and booleans, datetime64[us], or object of str and None."""
    try:
        if kind == "string":
            return _strings(column)
        if kind == "timestamp":
            return _timestamps(column)
        return _numbers(column)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {name!r} has a value that isn't a {kind}: {error}") from None


def _numbers(column: Array) -> Array:
    if column.dtype.kind in "fiub":
        values = column.astype(np.float64)
    else:
        values = np.fromiter(
            (np.nan if v is None or v == "" else float(v) for v in column.tolist()),
            dtype=np.float64,
            count=len(column),
        )
    values[~np.isfinite(values)] = np.nan
    return values


def _strings(column: Array) -> Array:
    texts = np.empty(len(column), dtype=object)
    # A value unequal to itself is NaN, pandas' other way of saying missing.
    missing = (None if v is None or v != v or v == "" else str(v) for v in column.tolist())  # noqa: PLR0124
    texts[:] = list(missing)
    return texts


def _timestamps(column: Array) -> Array:
    if column.dtype.kind == "M":
        return column.astype("datetime64[us]")
    return np.array([_moment(v) for v in column.tolist()], dtype="datetime64[us]")


def _moment(value: Any) -> Any:
    if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN
        return np.datetime64("NaT")
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, int | float):  # microseconds since 1970, as datetime64[us] holds them
        return np.datetime64(int(value), "us")
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")


def slots_of(names: Sequence[str], types: Sequence[str]) -> list[tuple[str, bool]]:
    """A matrix's columns as (name, is it text): timestamps take several."""
    slots: list[tuple[str, bool]] = []
    for name, kind in zip(names, types, strict=True):
        if kind == "timestamp":
            slots += [(f"{name}.{part}", False) for part in TIMESTAMP_PARTS]
        else:
            slots.append((name, kind == "string"))
    return slots


def to_matrix(columns: Mapping[str, Array], types: Sequence[str], *, rounded: bool) -> Array:
    """float32 (or float64 unrounded) [n, slots]; object when there are strings."""
    parts: list[Array] = []
    for column, kind in zip(columns.values(), types, strict=True):
        if kind == "timestamp":
            parts += _time_parts(column)
        elif kind == "string":
            parts.append(np.array(["" if v is None else v for v in column], dtype=object))
        else:
            parts.append(column)
    number = np.float32 if rounded else np.float64
    rows = len(parts[0]) if parts else 0
    text = "string" in types
    matrix = np.empty((rows, len(parts)), dtype=object if text else number)
    with np.errstate(over="ignore"):
        for index, part in enumerate(parts):
            matrix[:, index] = part if part.dtype == object else _round(part, number)
    return matrix


def _round(part: Array, number: Any) -> Array:
    values = part.astype(number)
    values[~np.isfinite(values)] = np.nan  # beyond float32's range
    return values


def _time_parts(moments: Array) -> list[Array]:
    known = ~np.isnat(moments)
    day = moments.astype("datetime64[D]")
    month = moments.astype("datetime64[M]")
    micros = moments.astype(np.int64).astype(np.float64)
    days = day.astype(np.int64)
    parts = [
        micros / 86_400e6,
        month.astype(np.int64) % 12 + 1,
        (day - month.astype("datetime64[D]")).astype(np.int64) + 1,
        (days + 3) % 7,  # 1970-01-01 was a Thursday
        (micros - days * 86_400e6) / 3_600e6,
    ]
    return [np.where(known, part, np.nan).astype(np.float64) for part in parts]


def _typed(column: Array, kind: str) -> Array:
    """A column for people's own code: integers and booleans as such where none is missing."""
    if kind == "integer" and not np.isnan(column).any():
        return column.astype(np.int64)
    if kind == "boolean":
        if not np.isnan(column).any():
            return column.astype(bool)
        return np.array([None if np.isnan(v) else bool(v) for v in column], dtype=object)
    return column


def to_frame(columns: Mapping[str, Array], types: Sequence[str]) -> Any:
    """A pandas DataFrame."""
    import pandas as pd

    pairs = zip(columns.items(), types, strict=True)
    return pd.DataFrame({name: _typed(column, kind) for (name, column), kind in pairs})


def to_table(columns: Mapping[str, Array], types: Sequence[str]) -> Any:
    """A pyarrow Table."""
    import pyarrow as pa

    pairs = zip(columns.items(), types, strict=True)
    return pa.table(
        {name: pa.array(_typed(column, kind), from_pandas=True) for (name, column), kind in pairs}
    )
