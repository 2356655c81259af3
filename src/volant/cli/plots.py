"""Curves as text: several in one frame, each drawn with its own letter, so that no color
is needed to tell them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from volant.cli.text import number

Points = Sequence[tuple[float, float]]

_TOGETHER = "*"  # where curves meet
_LEAST_WIDTH = 20


def plot(curves: Mapping[str, Points], *, width: int = 72, height: int = 12) -> list[str]:
    """`curves` (one sign each, as the key; points of x and y) in lines of at most `width`
    cells: the y axis with its bounds, `height` rows, the x axis with its bounds.

    Points whose y isn't finite are left out; [] when none is left.
    """
    finite = {
        sign: sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))
        for sign, points in curves.items()
    }
    every = [point for points in finite.values() for point in points]
    if not every:
        return []
    xs, ys = [x for x, _ in every], [y for _, y in every]
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys), max(ys)
    labels = [number(high_y), number((low_y + high_y) / 2), number(low_y)]
    margin = max(len(label) for label in labels)
    inner = max(_LEAST_WIDTH, width - margin - 2)
    rows = [[" "] * inner for _ in range(height)]
    for sign, points in finite.items():
        for column, y in _columns(points, low_x, high_x, inner):
            place = round(_share(y, low_y, high_y) * (height - 1))
            cell = rows[height - 1 - place]
            cell[column] = sign if cell[column] in (" ", sign) else _TOGETHER
    middle = (height - 1) // 2
    told = {0: labels[0], middle: labels[1], height - 1: labels[2]}
    if low_y == high_y:
        told = {height - 1: labels[2]}
    lines = [
        f"{told.get(place, '').rjust(margin)} │{''.join(row).rstrip()}"
        for place, row in enumerate(rows)
    ]
    left, right = number(low_x), number(high_x)
    axis = left + right.rjust(max(1, inner - len(left))) if left != right else left
    return [*lines, f"{' ' * margin} └{'─' * inner}", f"{' ' * (margin + 2)}{axis}"]


def _share(value: float, low: float, high: float) -> float:
    return 0.0 if high <= low else (value - low) / (high - low)


def _columns(points: Points, low: float, high: float, width: int) -> list[tuple[int, float]]:
    """(column, y): each point, and a straight line from one to the next."""
    found: list[tuple[int, float]] = []
    before: tuple[int, float] | None = None
    for x, y in points:
        column = round(_share(x, low, high) * (width - 1))
        if before is not None:
            start, value = before
            for between in range(start + 1, column):
                share = (between - start) / (column - start)
                found.append((between, value + share * (y - value)))
        found.append((column, y))
        before = column, y
    return found
