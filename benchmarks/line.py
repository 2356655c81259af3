"""What one figure says: samples of ours, of the floor, of a peer; a goal; whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one thing, told as median and range."""

    values: Sequence[float]
    of: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self) -> str:
        """`median (least–most)`, or the one value there is."""
        if len(self.values) == 1:
            return number(self.values[0])
        return f"{number(self.median)} ({number(min(self.values))}–{number(max(self.values))})"

    def to_dict(self) -> dict[str, Any]:
        return {"of": self.of, "median": self.median, "values": list(self.values)}


@dataclass(frozen=True)
class Line:
    """One line of the table.

    `at_most` bounds our median; `ratio_at_least` bounds ours ÷ floor. Without any of them the
    line is there to be read. `paired`: ours and the floor's were taken in turns, so that the
    ratio is the median of each two's, which a machine whose speed drifts leaves alone.
    """

    figure: str
    unit: str
    ours: Samples
    floor: Samples | None = None
    peer: Samples | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    note: str = ""
    paired: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by the floor."""
        if self.floor is None or self.floor.median == 0:
            return None
        if self.paired:
            both = zip(self.ours.values, self.floor.values, strict=True)
            return statistics.median(ours / floor for ours, floor in both)
        return self.ours.median / self.floor.median

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {number(self.at_most)} {self.unit}"
        if self.ratio_at_least is not None:
            return f"ratio ≥ {number(self.ratio_at_least)}"
        return ""

    @property
    def met(self) -> bool | None:
        """None when there is no goal."""
        if self.at_most is not None:
            return self.ours.median <= self.at_most
        if self.ratio_at_least is not None:
            return self.ratio is not None and self.ratio >= self.ratio_at_least
        return None

    def to_dict(self) -> Mapping[str, Any]:
        return {
            "figure": self.figure,
            "unit": self.unit,
            "ours": self.ours.to_dict(),
            "floor": None if self.floor is None else self.floor.to_dict(),
            "peer": None if self.peer is None else self.peer.to_dict(),
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
            "note": self.note,
        }


def number(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) >= 10:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
