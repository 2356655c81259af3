"""The table that all models learn from: breast cancer, 569 rows of 30 numbers, two classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("forest", "logistic")
TARGET = "benign"
WIDTH = 30
SURE = 0.1
"""Rows that a model is less sure of than this (probability minus one half) aren't asked:
32 and 64 bits may tell them differently."""


def write(path: Path, repeat: int = 1) -> Path:
    """The table as CSV; `repeat` writes that many slightly different copies below each
    other."""
    columns, rows, labels = _table()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*columns, TARGET))
        for turn in range(repeat):
            for row, label in zip(rows, labels, strict=True):
                writer.writerow([*(round(v * (1 + turn / 1e4), 6) for v in row), label])
    return path


def _table() -> tuple[Sequence[str], Sequence[Sequence[float]], Sequence[int]]:
    from sklearn.datasets import load_breast_cancer

    found: Any = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in found.feature_names]
    return columns, found.data.tolist(), found.target.tolist()


@dataclass(frozen=True)
class Asked:
    """Rows to ask a model, and the labels that scikit-learn gives them."""

    rows: Sequence[Sequence[float]]
    labels: Sequence[int]

    def first(self, count: int) -> Asked:
        return Asked(self.rows[:count], self.labels[:count])


def asked(folder: Path) -> Mapping[str, Asked]:
    """64 rows a model, answered by the estimators that lie pickled in `folder`."""
    import pickle

    import numpy as np

    _, rows, _ = _table()
    found: dict[str, Asked] = {}
    for name in NAMES:
        model = pickle.loads((folder / f"{name}.pkl").read_bytes())
        sure = np.abs(model.predict_proba(np.array(rows))[:, 1] - 0.5) > SURE
        chosen = [row for row, is_sure in zip(rows, sure, strict=True) if is_sure][:64]
        found[name] = Asked(chosen, [int(v) for v in model.predict(np.array(chosen))])
    return found


def dump(value: Any) -> bytes:
    """JSON as clients write it."""
    return json.dumps(value).encode()
