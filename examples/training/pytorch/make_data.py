"""400 rows in `waves.csv`: a height that follows from place and time, with a little noise."""

import csv
from pathlib import Path

import numpy as np

dice = np.random.default_rng(0)
place, time = dice.uniform(-2, 2, 400), dice.uniform(-1, 1, 400)
height = np.sin(1.5 * place) + 0.5 * time**2 + dice.normal(0, 0.05, 400)
with Path("waves.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["place", "time", "height"])
    writer.writerows(np.column_stack([place, time, height]).round(6).tolist())
