"""Rows of a table for a model over columns, each matched by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.serving.batch_rows import WORDS, Tools
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.refusal import nearest


class ColumnRows:
    """Args:
    about: A model over columns.
    name: What messages call the input.
    """

    def __init__(self, about: Description, tools: Tools, name: str) -> None:
        self._about = about
        self._tools = tools
        self._name = name

    def read(self, rows: pa.Table, rejected: dict[int, str]) -> ColumnChunk:
        """The rows' values; those without a usable one are put into `rejected`."""
        names = [field.name for field in self._about.columns]
        if not set(names) & set(rows.column_names):
            raise InvalidInput(
                f"{self._name} has none of the model's columns.",
                f"The model wants: {', '.join(names)}; it has: {', '.join(rows.column_names)}.",
                code="missing_column",
                details={"column": names[0]},
            )
        values = [self._column(rows, field, rejected) for field in self._about.columns]
        return ColumnChunk(self._feeds(values, rejected))

    def _column(
        self, rows: pa.Table, field: Field, rejected: dict[int, str]
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """A column as it came, plain, and in its type."""
        if field.name not in rows.column_names:
            if not field.nullable:
                raise InvalidInput(
                    f"{self._name} lacks the column {field.name!r}."
                    f"{nearest(field.name, rows.column_names)}",
                    f"The model wants: {', '.join(c.name for c in self._about.columns)}.",
                    code="missing_column",
                    details={"column": field.name},
                )
            nothing = pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
            return nothing, self._tools.cast(nothing, ColumnType(field.type)).values
        plain = rows.column(field.name)
        if pa.types.is_null(plain.type):
            plain = plain.cast(pa.string())
        plain = self._tools.plain(plain, field.name, self._name)
        found = self._tools.cast(plain, ColumnType(field.type))
        failed = np.zeros(rows.num_rows, bool) if found.failed is None else found.failed
        for i in np.flatnonzero(failed).tolist():
            got = str(plain[i].as_py())[:80]
            rejected.setdefault(i, f"{field.name}: expected {WORDS[field.type]}, got {got!r}")
        if not field.nullable:
            missing = found.values.is_null().to_numpy(zero_copy_only=False)
            for i in np.flatnonzero(missing & ~failed).tolist():
                rejected.setdefault(i, f"{field.name}: expected {WORDS[field.type]}, got nothing")
        return plain, found.values

    def _feeds(
        self, values: list[tuple[pa.ChunkedArray, pa.ChunkedArray]], rejected: dict[int, str]
    ) -> list[Array]:
        feeds: list[Array] = []
        for tensor in self._about.tensors:
            parts: list[Array] = []
            for place in tensor.columns:
                field = self._about.columns[place]
                plain, typed = values[place]
                if tensor.dtype in ("string", "text"):
                    parts.append(_texts(plain, typed, field, tensor.dtype))
                else:
                    parts.append(_numbers(typed, field, tensor.dtype, rejected))
            feeds.append(np.stack(parts, axis=1))
        return feeds


class ColumnChunk:
    """The arrays of a chunk's rows."""

    def __init__(self, feeds: Sequence[Array]) -> None:
        self._feeds = feeds

    def groups(self, places: Array) -> Iterable[Array]:
        """All of them together."""
        return (places,) if len(places) else ()

    def feeds(self, places: Array) -> Sequence[Array]:
        """Those rows alone."""
        return [feed[places] for feed in self._feeds]


def _texts(plain: pa.ChunkedArray, typed: pa.ChunkedArray, field: Field, dtype: str) -> Array:
    """Text as a client would send it; a time as it was written."""
    if field.type == "timestamp" and pa.types.is_timestamp(plain.type):
        texts = [None if v is None else v.isoformat() for v in plain.to_pylist()]
    elif field.type == "timestamp":
        kept = typed.is_valid().to_pylist()
        texts = [v if good else None for v, good in zip(plain.to_pylist(), kept, strict=True)]
    else:
        texts = typed.to_pylist()
    missing = "" if dtype == "string" else None
    array = np.empty(len(texts), dtype=object)
    array[:] = [missing if text is None else text for text in texts]
    return array


def _numbers(typed: pa.ChunkedArray, field: Field, dtype: str, rejected: dict[int, str]) -> Array:
    exact = typed.cast(pa.float64(), safe=False).to_numpy()
    exact = np.where(typed.is_null().to_numpy(zero_copy_only=False), np.nan, exact)
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    for i in np.flatnonzero(np.isinf(array)).tolist():
        reason = f"{field.name}: expected a number within {dtype}, got {exact[i]:g}"
        rejected.setdefault(i, reason)
    return array
