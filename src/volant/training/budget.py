"""Time: how much is left, and what the next fit will cost.

The clock is an argument, so that tests hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from volant.training.families import Candidate

# Fits vary by this much from one to the next on a busy machine.
_MARGIN = 1.3
# An unseen family's first fit is guessed from the dearest fit seen so far.
_UNSEEN_FACTOR = 4.0
# Time grows as rows to this power, from fits on 1,000 to 90,000 rows: boosting's cost of a
# leaf hardly depends on its rows, a forest's trees get deeper.
_GROWTH = {"linear": 1.0, "boosting": 0.7, "forest": 1.1, "extra_trees": 1.1}


@dataclass(slots=True)
class Costs:
    """Seconds per unit of weight and work, learnt from the fits that were made; never
    less than the family's quickest fit, for every fit has a part that no weight tells.
    Work is rows to the family's power of growth."""

    _rates: dict[str, float] = field(default_factory=dict[str, float])
    _least: dict[str, float] = field(default_factory=dict[str, float])  # for any weight
    _dearest: float = 0.0  # seconds per row, any family

    def observe(self, candidate: Candidate, rows: int, seconds: float) -> None:
        family = candidate.family
        per_work = seconds / _work(family, rows)
        rate = per_work / candidate.weight
        known = self._rates.get(family)
        self._rates[family] = rate if known is None else 0.5 * (known + rate)
        self._least[family] = min(self._least.get(family, per_work), per_work)
        self._dearest = max(self._dearest, seconds / rows)

    def knows(self, candidate: Candidate) -> bool:
        """Whether a fit of its family was seen."""
        return candidate.family in self._rates

    def predict(self, candidate: Candidate, rows: int) -> float:
        """Seconds that fitting `candidate` on `rows` rows will take, with a margin;
        0 when nothing was fitted yet."""
        family = candidate.family
        rate = self._rates.get(family)
        if rate is None:
            return _UNSEEN_FACTOR * self._dearest * rows
        per_work = max(rate * candidate.weight, self._least[family])
        return _MARGIN * per_work * _work(family, rows)


def _work(family: str, rows: int) -> float:
    return float(rows) ** _GROWTH[family]


@dataclass(frozen=True, slots=True)
class Deadline:
    """`seconds` from the moment it was made, by `clock` (monotonic seconds)."""

    clock: Callable[[], float]
    seconds: float
    started: float

    @classmethod
    def start(cls, seconds: float, clock: Callable[[], float]) -> Deadline:
        return cls(clock, seconds, clock())

    def left(self) -> float:
        return self.seconds - (self.clock() - self.started)
