"""Pictures of bars and crosses with noise, in `pictures/`, and `pictures.csv` that lists them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, COUNT = 16, 300
folder = Path("pictures").absolute()
folder.mkdir(exist_ok=True)
dice = np.random.default_rng(0)
with Path("pictures.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["picture", "shape"])
    for number in range(COUNT):
        shape = ("across", "down", "cross")[number % 3]
        pixels = dice.integers(0, 90, (SIZE, SIZE))
        row, column = dice.integers(2, SIZE - 3, 2)
        if shape != "down":
            pixels[row : row + 2, :] += 120
        if shape != "across":
            pixels[:, column : column + 2] += 120
        path = folder / f"{number:03}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        writer.writerow([path, shape])
