"""A simulator of machines that are taken away: it strikes jobs at random times."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from volant.domain.job import Job


@dataclass(frozen=True, slots=True)
class Spot:
    """Strikes a job that may be preempted after a time drawn from the exponential
    distribution with the mean `every_s` (seconds), as a Poisson process would. The same
    `seed`, step and attempt give the same time.
    """

    every_s: float
    seed: int = 0

    def strikes_after(self, job: Job) -> float:
        """Seconds from the attempt's start."""
        dice = random.Random(f"{self.seed}:{job.step}:{job.attempt}")  # noqa: S311 - no secret
        return dice.expovariate(1 / self.every_s)

    @contextmanager
    def over(self, job: Job, strike: Callable[[], None]) -> Generator[None]:
        """Call `strike` in a thread of its own if the block lasts until then."""
        timer = threading.Timer(self.strikes_after(job), strike)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
