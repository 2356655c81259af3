"""From a matrix of raw columns to the numbers that an estimator learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# A one-hot column for each of at most this many values of a text column, and at most
# this many for all text columns together; rarer and unknown values are all zeros.
_MOST_VALUES = 32
_MOST_VALUES_TOGETHER = 512
_RAREST_SHARE = 0.002


@dataclass(frozen=True, slots=True)
class Preparation:
    """Which of a matrix's columns are worth learning from, decided once on all training
    rows and without their target. `values` are the text values that get a column."""

    numbers: tuple[int, ...]
    texts: tuple[int, ...]
    values: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Columns after the preparation."""
        return len(self.numbers) + sum(len(v) for v in self.values)

    def transformer(self, *, scaled: bool) -> ColumnTransformer:
        """Median for missing numbers (and standard scaling), one-hot for texts."""
        steps: list[tuple[str, Any, list[int]]] = []
        if self.numbers:
            fill = SimpleImputer(strategy="median", keep_empty_features=True)
            number = Pipeline([("fill", fill), ("scale", StandardScaler())]) if scaled else fill
            steps.append(("numbers", number, list(self.numbers)))
        if self.texts:
            known: Any = [np.array(v, dtype=object) for v in self.values]
            single: Any = np.float32
            encoder = OneHotEncoder(
                categories=known, handle_unknown="ignore", sparse_output=False, dtype=single
            )
            steps.append(("texts", encoder, list(self.texts)))
        return ColumnTransformer(steps)


def plan_preparation(matrix: NDArray[Any], slots: Sequence[tuple[str, bool]]) -> Preparation:
    """Choose columns and text values of `matrix` [n, slots].

    Columns that are constant or all missing are left out, and text columns in which no
    value is frequent (names, identifiers). If nothing is left, the first column stays,
    so that a model, though a constant one, can still be made.
    """
    texts = [i for i, (_, text) in enumerate(slots) if text]
    room = max(2, min(_MOST_VALUES, _MOST_VALUES_TOGETHER // max(1, len(texts))))
    chosen = {i: _frequent(matrix[:, i], room) for i in texts}
    numbers = tuple(
        i for i, (_, text) in enumerate(slots) if not text and _varies(matrix[:, i].astype(float))
    )
    kept = tuple(i for i in texts if chosen[i])
    if not numbers and not kept:
        if not slots[0][1]:
            return Preparation((0,), (), ())
        return Preparation((), (0,), ((str(matrix[0, 0]),),))
    return Preparation(numbers, kept, tuple(chosen[i] for i in kept))


def _varies(column: NDArray[np.float64]) -> bool:
    known = column[~np.isnan(column)]
    return len(known) > 0 and bool((known != known[0]).any())


def _frequent(column: NDArray[Any], most: int) -> tuple[str, ...]:
    """The values worth a column each, in sorted order; none when one value is all there is."""
    counts = Counter[str](column.tolist())
    if len(counts) < 2:
        return ()
    least = max(2, int(_RAREST_SHARE * len(column)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(value for value, count in ranked[:most] if count >= least))
