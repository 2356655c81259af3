"""Whether a revision does well enough: its own numbers against its rollout's limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from volant.domain.loop import RolloutSpec


class Counted(Protocol):
    """What a revision did in a time. `errors` are answers of 5xx and requests that
    couldn't reach it; `p95_ms` is None when nothing was timed. `compared` are its answers
    as a shadow, `differing` those of them that weren't the live version's."""

    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def p95_ms(self) -> float | None: ...
    @property
    def compared(self) -> int: ...
    @property
    def differing(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """`rules` as a decision tells them; `broken` says what is wrong, None if nothing is."""

    rules: tuple[Mapping[str, Any], ...]
    broken: str | None


def judge(spec: RolloutSpec, counted: Counted, *, at_end: bool) -> Judgement:
    """Compare what was counted in a step with the limits.

    With fewer than `min_requests` nothing is held against it while the step lasts. At its
    end (`at_end`) it is then given up only if half of the requests or more failed: a
    percentile of a handful says nothing, and with no request at all time alone decides.
    """
    enough = counted.requests >= spec.min_requests
    found = [_errors(spec, counted, enough=enough, at_end=at_end)]
    if spec.p95_ms is not None:
        found.append(_latency(spec.p95_ms, counted, enough=enough))
    if counted.compared:
        found.append(_answers(counted))
    broken = [str(rule["reason"]) for rule in found if not rule["passed"]]
    return Judgement(tuple(found), "; ".join(broken) or None)


def _errors(spec: RolloutSpec, counted: Counted, *, enough: bool, at_end: bool) -> dict[str, Any]:
    requests, errors = counted.requests, counted.errors
    rate = errors / requests if requests else 0.0
    few = at_end and not enough and errors > 0 and errors * 2 >= requests
    broken = few or (enough and rate > spec.error_rate)
    told = f"{errors} of {requests} requests failed"
    if requests:
        told += f" ({rate:.2%}; at most {spec.error_rate:.2%} may)"
    return {
        "rule": "error_rate",
        "passed": not broken,
        "requests": requests,
        "errors": errors,
        "value": rate,
        "limit": spec.error_rate,
        "reason": told,
    }


def _answers(counted: Counted) -> dict[str, Any]:
    """Told and not judged: a better model answers otherwise, and so does a worse one."""
    compared, differing = counted.compared, counted.differing
    return {
        "rule": "shadow",
        "passed": True,
        "compared": compared,
        "differing": differing,
        "reason": f"{differing} of {compared} compared answers differ from the live version's",
    }


def _latency(limit: float, counted: Counted, *, enough: bool) -> dict[str, Any]:
    p95 = counted.p95_ms
    broken = enough and p95 is not None and p95 > limit
    told = "no request was timed" if p95 is None else f"95 % took at most {p95:.3g} ms"
    return {
        "rule": "p95_ms",
        "passed": not broken,
        "value": p95,
        "limit": limit,
        "reason": f"{told}; the limit is {limit:g} ms",
    }
