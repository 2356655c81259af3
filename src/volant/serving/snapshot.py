"""What a revision has counted by one moment, and what lies between two of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

from volant.serving.latency import BOUNDS_US, BUCKETS, percentile_ms

_NO_BUCKETS = (0,) * BUCKETS
_HISTOGRAMS = ("latency", "predict", "copies")
_GAUGES = frozenset(
    {"revision", "version", "at", "replicas", "in_flight", "queue_rows", "memory_bytes", "waiting"}
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts of one revision since its counters began; `in_flight`, `queue_rows`,
    `memory_bytes`, `replicas` and `waiting` are of this moment. Health checks and metrics
    aren't requests.

    `answered` is every request but the `refused` (4xx), and `latency` is theirs:
    arrival of the whole request to its answer, in the buckets of `latency.py`. `failed`
    of them got a 5xx. `lost` are those that no replica answered: none could be started, the
    one that had them died, or their client gave up after long. `waiting` are the seconds that
    requests under way have waited for their answer, at most 32 of each replica.
    `predict` is the model's share. `forwarded`, `unreached`,
    `shadowed`, `differed` and `dropped` are what the live revision tells of this one.
    `copies…` are the same for the copies that it got as a shadow: nobody's requests.
    """

    revision: int = 0
    version: int = 0
    at: float = 0.0  # seconds of `time.monotonic`
    replicas: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    unreached: int = 0
    lost: int = 0
    rows: int = 0
    batches: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    latency_us: int = 0
    predict_us: int = 0
    forwarded: int = 0
    shadowed: int = 0
    differed: int = 0
    dropped: int = 0
    cpu_us: int = 0
    memory_bytes: int = 0
    in_flight: int = 0
    queue_rows: int = 0
    copies_refused: int = 0
    copies_failed: int = 0
    copies_us: int = 0
    latency: tuple[int, ...] = _NO_BUCKETS
    predict: tuple[int, ...] = _NO_BUCKETS
    copies: tuple[int, ...] = _NO_BUCKETS
    waiting: tuple[float, ...] = ()

    @property
    def requests(self) -> int:
        """All of them, those that never reached it included."""
        return self.answered + self.refused + self.unreached + self.lost

    @property
    def errors(self) -> int:
        """Those that failed by no fault of their client."""
        return self.failed + self.unreached + self.lost

    @property
    def error_rate(self) -> float:
        """Errors among the requests, 0 when there were none."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p50_ms(self) -> float | None:
        return percentile_ms(self.latency, 0.5)

    @property
    def p95_ms(self) -> float | None:
        return percentile_ms(self.latency, 0.95)

    @property
    def p99_ms(self) -> float | None:
        return percentile_ms(self.latency, 0.99)

    def judged(self) -> Snapshot:
        """With its copies taken for requests: all that tells how it does."""
        return replace(
            self,
            answered=self.answered + sum(self.copies),
            refused=self.refused + self.copies_refused,
            failed=self.failed + self.copies_failed,
            latency_us=self.latency_us + self.copies_us,
            latency=tuple(a + b for a, b in zip(self.latency, self.copies, strict=True)),
            copies_refused=0,
            copies_failed=0,
            copies_us=0,
            copies=_NO_BUCKETS,
        )

    def since(self, earlier: Snapshot | None) -> Window:
        """What was counted after `earlier`; all of it when the counters began anew
        meanwhile, or when there is none."""
        if earlier is None or _began_anew(self, earlier):
            return Window(self, None)
        changed = {
            field.name: getattr(self, field.name) - getattr(earlier, field.name)
            for field in fields(self)
            if field.name not in _GAUGES and field.name not in _HISTOGRAMS
        }
        for name in _HISTOGRAMS:
            changed[name] = _less(getattr(self, name), getattr(earlier, name))
        return Window(replace(self, **changed), self.at - earlier.at)


@dataclass(frozen=True, slots=True)
class Window:
    """The counts of `seconds`, None if that isn't known."""

    counts: Snapshot
    seconds: float | None

    @property
    def requests(self) -> int:
        return self.counts.requests

    @property
    def errors(self) -> int:
        return self.counts.errors

    @property
    def compared(self) -> int:
        return self.counts.shadowed

    @property
    def differing(self) -> int:
        return self.counts.differed

    @property
    def dropped(self) -> int:
        return self.counts.dropped

    @property
    def waiting(self) -> Sequence[float]:
        return self.counts.waiting

    def p95_at_least_ms(self, limit_ms: float) -> float | None:
        """The 95th percentile once those are timed, too, that have waited for longer than
        `limit_ms` already; None when nothing was timed."""
        timed = list(self.counts.latency)
        for age in self.waiting:
            if age * 1000 > limit_ms:
                timed[bisect_left(BOUNDS_US, age * 1e6)] += 1
        return percentile_ms(timed, 0.95)

    @property
    def error_rate(self) -> float:
        return self.counts.error_rate

    @property
    def p50_ms(self) -> float | None:
        return self.counts.p50_ms

    @property
    def p95_ms(self) -> float | None:
        return self.counts.p95_ms

    @property
    def p99_ms(self) -> float | None:
        return self.counts.p99_ms

    @property
    def rps(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0


def added(snapshots: Iterable[Snapshot]) -> Snapshot:
    """All revisions together; its `revision` and `version` are 0."""
    total: dict[str, Any] = {}
    every = list(snapshots)
    for field in fields(Snapshot):
        if field.name in ("revision", "version"):
            continue
        values = [getattr(each, field.name) for each in every]
        if not values:
            continue
        if field.name in _HISTOGRAMS:
            total[field.name] = tuple(map(sum, zip(*values, strict=True)))
        elif field.name == "at":
            total[field.name] = max(values)
        elif field.name == "waiting":
            total[field.name] = tuple(chain.from_iterable(values))
        else:
            total[field.name] = sum(values)
    return Snapshot(**total)


def _began_anew(now: Snapshot, earlier: Snapshot) -> bool:
    return now.answered < earlier.answered or now.refused < earlier.refused


def _less(now: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...]:
    # A row is copied while its replica writes it, so a bucket may be one behind.
    return tuple(max(0, a - b) for a, b in zip(now, earlier, strict=True))
