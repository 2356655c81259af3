"""A table to learn from, the same at every run: eight numbers and a label."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

COLUMNS = ("age", "income", "balance", "tenure", "visits", "score", "distance", "ratio")
ROWS = 20_000


def write(path: Path, seed: int, count: int = ROWS) -> Path:
    """A CSV file of `count` rows; another seed gives other rows of the same kind."""
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, "label"))
        for _ in range(count):
            values = [rng.gauss(0, 1) for _ in COLUMNS]
            logit = 2 * values[0] - 1.5 * values[1] * values[2] + math.sin(3 * values[5])
            yes = rng.random() < 1 / (1 + math.exp(-logit))
            writer.writerow([*(f"{value:.5f}" for value in values), "yes" if yes else "no"])
    return path
