"""Whether a revision does well enough: its own numbers against its rollout's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from volant.domain.loop import RolloutSpec
from volant.serving.limits import ForwardLimits
from volant.serving.trouble import Trouble

LATE_S = ForwardLimits().answer_s  # without an answer for so long, a request has failed
_SLOW_S = 1.0  # what has waited for so long may be such a request


class Counted(Protocol):
    """What a revision did in a time. `errors` are answers of 5xx, requests that couldn't
    reach it, and those that it lost; `waiting` are the seconds that requests under way have
    waited. `compared` are its answers as a shadow, `differing` those of them that weren't
    the live version's; `dropped` copies weren't sent to it."""

    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def waiting(self) -> Sequence[float]: ...
    @property
    def compared(self) -> int: ...
    @property
    def differing(self) -> int: ...
    @property
    def dropped(self) -> int: ...

    def p95_at_least_ms(self, limit_ms: float) -> float | None:
        """The 95th percentile, those that have waited for longer than `limit_ms` included;
        None when nothing was timed."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """`rules` as a decision tells them; `broken` says what is wrong, None if nothing is.
    `early`: what is under way may still break a rule, so that it can't go on yet."""

    rules: tuple[Mapping[str, Any], ...]
    broken: str | None
    early: bool = False


def judge(
    spec: RolloutSpec, counted: Counted, *, over_s: float, trouble: Trouble | None = None
) -> Judgement:
    """Compare what was counted in a step with the limits.

    With fewer than `min_requests` nothing is held against it while the step lasts. At its
    end it is then given up only if half of the requests or more failed: a percentile of a
    handful says nothing, and with no request at all time alone decides. What is under way
    at the end gets the time that an answer may take.

    Args:
        spec: The limits.
        counted: What it did in this step.
        over_s: Seconds since the step's end, negative before it.
        trouble: What its replicas suffer from.
    """
    late_s = max(LATE_S, (spec.p95_ms or 0.0) / 1000)
    failed = _without_answer(counted, late_s, over_s)
    requests, errors = counted.requests + failed, counted.errors + failed
    found = [_errors(spec, requests, errors, late=failed, at_end=over_s >= 0)]
    if spec.p95_ms is not None:
        found.append(_latency(spec, spec.p95_ms, counted))
    if counted.compared or counted.dropped:
        found.append(_answers(counted))
    if trouble is not None:
        found.append(_replicas(trouble))
    broken = [str(rule["reason"]) for rule in found if not rule["passed"]]
    open_ = [age for age in counted.waiting if age >= _SLOW_S or not counted.requests]
    may_fail = requests + len(open_) - failed, errors + len(open_) - failed
    early = trouble is not None or (over_s < late_s and _too_many(spec, *may_fail, at_end=True))
    return Judgement(tuple(found), "; ".join(broken) or None, early)


def _without_answer(counted: Counted, late_s: float, over_s: float) -> int:
    """Requests under way that have failed by now: each that is late, and all of them when
    nothing was answered in the whole step and the time after it."""
    if over_s >= late_s and not counted.requests:
        return len(counted.waiting)
    return len([age for age in counted.waiting if age >= late_s])


def _too_many(spec: RolloutSpec, requests: int, errors: int, *, at_end: bool) -> bool:
    if requests >= spec.min_requests:
        return errors / requests > spec.error_rate
    return at_end and errors > 0 and errors * 2 >= requests


def _errors(
    spec: RolloutSpec, requests: int, errors: int, *, late: int, at_end: bool
) -> dict[str, Any]:
    rate = errors / requests if requests else 0.0
    told = f"{errors} of {requests} requests failed"
    if requests:
        told += f" ({rate:.2%}; at most {spec.error_rate:.2%} may)"
    if late:
        told += f", {late} of them without an answer"
    return {
        "rule": "error_rate",
        "passed": not _too_many(spec, requests, errors, at_end=at_end),
        "requests": requests,
        "errors": errors,
        "value": rate,
        "limit": spec.error_rate,
        "reason": told,
    }


def _answers(counted: Counted) -> dict[str, Any]:
    """Told and not judged: a better model answers otherwise, and so does a worse one."""
    compared, differing = counted.compared, counted.differing
    told = f"{differing} of {compared} compared answers differ from the live version's"
    if counted.dropped:
        told += f"; {counted.dropped} copies weren't sent"
    return {
        "rule": "shadow",
        "passed": True,
        "compared": compared,
        "differing": differing,
        "reason": told,
    }


def _latency(spec: RolloutSpec, limit: float, counted: Counted) -> dict[str, Any]:
    p95 = counted.p95_at_least_ms(limit)
    slow = len([age for age in counted.waiting if age * 1000 > limit])
    broken = counted.requests + slow >= spec.min_requests and p95 is not None and p95 > limit
    told = "no request was timed" if p95 is None else f"95 % took at most {p95:.3g} ms"
    told += f"; the limit is {limit:g} ms"
    if slow:
        told += f" ({slow} requests still wait)"
    return {
        "rule": "p95_ms",
        "passed": not broken,
        "value": p95,
        "limit": limit,
        "reason": told,
    }


def _replicas(trouble: Trouble) -> dict[str, Any]:
    times = "once" if trouble.failures == 1 else f"{trouble.failures} times in a row"
    return {
        "rule": "replicas",
        "passed": not trouble.hopeless,
        "failures": trouble.failures,
        "reason": f"its replica ended {times}: {trouble.problem.rstrip('.')}",
    }
