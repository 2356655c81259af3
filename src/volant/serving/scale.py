"""How many replicas are wanted. Pure arithmetic, so that it can be tested as such."""

from __future__ import annotations

import math
from collections import deque

from volant.domain.loop import ReplicaSpec

DOWN_AFTER_S = 10.0  # demand must stay lower for this long before a replica goes
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MOST_S = 30.0


class Demand:
    """The highest number of requests in flight over the last seconds."""

    def __init__(self, window_s: float = DOWN_AFTER_S) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, in_flight: int) -> None:
        # Kept in falling order: the first one is the highest that is young enough.
        while self._seen and self._seen[-1][1] <= in_flight:
            self._seen.pop()
        self._seen.append((now, in_flight))

    def highest(self, now: float) -> int:
        while self._seen and now - self._seen[0][0] > self._window_s:
            self._seen.popleft()
        return self._seen[0][1] if self._seen else 0


def wanted_replicas(demand: int, replicas: ReplicaSpec) -> int:
    """For a revision in use: as many as hold `replicas.target` requests in flight each,
    between 1 and `replicas.max`, and never under `replicas.min`."""
    enough = math.ceil(demand / max(replicas.target, 1))
    return max(replicas.min, min(max(enough, 1), max(replicas.max, 1)))


def backoff_s(failures: int) -> float:
    """Seconds to wait before the next start: none after the first failure, then
    doubling up to half a minute."""
    if failures <= 1:
        return 0.0
    return min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(failures - 2, 20))
