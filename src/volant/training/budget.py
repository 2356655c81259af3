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


@dataclass(slots=True)
class Costs:
    """Seconds per unit of weight and row, learnt from the fits that were made; never
    less than the family's quickest fit, for every fit has a part that no weight tells."""

    _rates: dict[str, float] = field(default_factory=dict[str, float])
    _least: dict[str, float] = field(default_factory=dict[str, float])  # seconds per row
    _dearest: float = 0.0  # seconds per row, any family

    def observe(self, candidate: Candidate, rows: int, seconds: float) -> None:
        rate = seconds / (candidate.weight * rows)
        known = self._rates.get(candidate.family)
        self._rates[candidate.family] = rate if known is None else 0.5 * (known + rate)
        self._least[candidate.family] = min(
            self._least.get(candidate.family, float("inf")), seconds / rows
        )
        self._dearest = max(self._dearest, seconds / rows)

    def knows(self, candidate: Candidate) -> bool:
        """Whether a fit of its family was seen."""
        return candidate.family in self._rates

    def predict(self, candidate: Candidate, rows: int) -> float:
        """Seconds that fitting `candidate` on `rows` rows will take, with a margin;
        0 when nothing was fitted yet."""
        rate = self._rates.get(candidate.family)
        if rate is None:
            return _UNSEEN_FACTOR * self._dearest * rows
        return _MARGIN * max(rate * candidate.weight, self._least[candidate.family]) * rows


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
