"""A model as it will serve, in the form that judging wants: for those that no pickled
pipeline stands behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

# (folder, SHA-256 by relative path) → the model as a replica has it
Open = Callable[[Path, Mapping[str, str]], Any]


class Served:
    """`predict` and `predict_proba` over tables; one answer is kept for both."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._answered: tuple[pa.Table, Any] | None = None

    def predict(self, rows: pa.Table) -> Any:
        return self._answer(rows).outputs[0]

    @property
    def predict_proba(self) -> Callable[[pa.Table], Any] | None:
        """None for a model without probabilities."""
        if self._model.description.probabilities is None:
            return None
        return lambda rows: self._answer(rows).outputs[1]

    def _answer(self, rows: pa.Table) -> Any:
        if self._answered is None or self._answered[0] is not rows:
            self._answered = (rows, self._model.predict(self._feeds(rows)))
        return self._answered[1]

    def _feeds(self, rows: pa.Table) -> tuple[Any, ...]:
        columns = self._model.description.columns
        return tuple(
            np.stack(
                [_values(rows.column(columns[i].name), tensor.dtype) for i in tensor.columns], 1
            )
            for tensor in self._model.description.tensors
        )


def _values(column: pa.ChunkedArray, dtype: str) -> Any:
    if dtype not in ("string", "text"):
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=dtype)
    texts = [None if value is None else str(value) for value in column.to_pylist()]
    blank = "" if dtype == "string" else None
    return np.array([blank if text is None else text for text in texts], dtype=object)


def open_served(folder: Path, opener: Open) -> Served:
    """Open a model folder through `opener`. Raises what that raises."""
    hashes: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        hashes[path.relative_to(folder).as_posix()] = digest
    return Served(opener(folder, hashes))
