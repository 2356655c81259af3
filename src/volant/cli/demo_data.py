"""The demo's data: scikit-learn's bundled breast cancer table, cut into deliveries.

The table (569 rows, 30 measurements, malignant or benign) is the Diagnostic Wisconsin
Breast Cancer Database (Wolberg, Street and Mangasarian, 1993). It is read from
scikit-learn's installed files without importing scikit-learn.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

from volant.errors import MissingExtra

Row = list[str]

_MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
COLUMNS = [f"{m}_{kind}" for kind in ("mean", "error", "worst") for m in _MEASURES] + ["diagnosis"]
TARGET = "diagnosis"


def rows(seed: int = 4) -> list[Row]:
    """All rows in a fixed random order, the diagnosis in words."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("scikit-learn", "all")
    path = Path(found.submodule_search_locations[0], "datasets", "data", "breast_cancer.csv")
    with path.open(newline="") as file:
        lines = csv.reader(file)
        names = next(lines)[2:]
        table = [[*line[:-1], names[int(line[-1])]] for line in lines]
    random.Random(seed).shuffle(table)  # noqa: S311 - an order, not a secret
    return table


def broken(table: Sequence[Row]) -> list[Row]:
    """Four rows such as real deliveries hold: each breaks one thing."""
    word, below, label, short = ([*row] for row in table[:4])
    word[0] = "n/a?"
    below[3] = "-880.2"
    label[-1] = "unknown"
    short[5:] = []
    return [word, below, label, short]


def with_flipped_labels(table: Sequence[Row]) -> list[Row]:
    """The same rows with every diagnosis turned around."""
    other = {"malignant": "benign", "benign": "malignant"}
    return [[*row[:-1], other[row[-1]]] for row in table]


def write(path: Path, table: Sequence[Row]) -> Path:
    """A CSV file with a header."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(table)
    return path
