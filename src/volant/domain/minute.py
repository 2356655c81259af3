"""One minute of a deployment, as it is kept for a month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DeploymentMinute:
    """What happened from `minute` until the next one.

    `requests` include the `refused` (4xx) and the `errors` (5xx); the percentiles are
    those of all but the refused, in milliseconds, None without any. `rps_peak` is the
    busiest second's. `memory_bytes` and `replicas` are the highest of the minute, over
    all replicas; `cpu_s` is what they used.
    """

    deployment: str
    minute: datetime
    requests: int = 0
    errors: int = 0
    refused: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    rps_peak: float = 0.0
    cold_starts: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    replicas: int = 0


def joined(first: DeploymentMinute, then: DeploymentMinute) -> DeploymentMinute:
    """Both as one, at the first one's time. Percentiles of two can't be had from theirs:
    the median is weighed by the requests, the others are the higher one's."""
    return DeploymentMinute(
        deployment=first.deployment,
        minute=first.minute,
        requests=first.requests + then.requests,
        errors=first.errors + then.errors,
        refused=first.refused + then.refused,
        p50_ms=_weighed(first, then),
        p95_ms=_higher(first.p95_ms, then.p95_ms),
        p99_ms=_higher(first.p99_ms, then.p99_ms),
        rps_peak=max(first.rps_peak, then.rps_peak),
        cold_starts=first.cold_starts + then.cold_starts,
        memory_bytes=max(first.memory_bytes, then.memory_bytes),
        cpu_s=round(first.cpu_s + then.cpu_s, 3),
        replicas=max(first.replicas, then.replicas),
    )


def _weighed(first: DeploymentMinute, then: DeploymentMinute) -> float | None:
    if first.p50_ms is None or then.p50_ms is None:
        return first.p50_ms if then.p50_ms is None else then.p50_ms
    weights = (max(first.requests, 1), max(then.requests, 1))
    both = first.p50_ms * weights[0] + then.p50_ms * weights[1]
    return round(both / sum(weights), 3)


def _higher(one: float | None, other: float | None) -> float | None:
    return max((each for each in (one, other) if each is not None), default=None)
