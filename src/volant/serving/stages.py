"""A rollout's steps: what share a revision has in each, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass

from volant.domain.deployment import RevisionStatus
from volant.domain.loop import ReplicaSpec, RolloutSpec
from volant.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Stage:
    """`percent` of the requests are copied (shadow) or answered (canary)."""

    status: RevisionStatus
    percent: float


def stages(spec: RolloutSpec) -> tuple[Stage, ...]:
    """In order; a revision's `step` is a place in it. After the last one comes `live`."""
    shadow = (Stage(RevisionStatus.SHADOW, spec.shadow),) if spec.shadow else ()
    return (*shadow, *(Stage(RevisionStatus.CANARY, percent) for percent in spec.canary))


def check_rollout(spec: RolloutSpec) -> None:
    """Raises `InvalidInput` for one that can't be."""
    problem = None
    if any(not 0 < percent < 100 for percent in spec.canary):
        problem = "canary percents lie between 0 and 100; after the last one comes all of it"
    elif any(b <= a for a, b in zip(spec.canary, spec.canary[1:], strict=False)):
        problem = "canary percents grow from step to step"
    elif len(spec.canary) > 20:
        problem = "a canary has at most 20 steps"
    elif not 0 <= spec.shadow <= 100:
        problem = "shadow is a percentage, 0 to 100"
    elif not 0 <= spec.bake_s <= 30 * 86400:
        problem = "bake is 0 seconds to 30 days"
    elif not 0 <= spec.error_rate <= 1:
        problem = "error_rate is a fraction, 0 to 1"
    elif spec.p95_ms is not None and spec.p95_ms <= 0:
        problem = "p95_ms is above 0"
    elif spec.min_requests < 1:
        problem = "min_requests is at least 1"
    elif spec.sticky and (spec.sticky.header is None) == (spec.sticky.parameter is None):
        problem = "sticky names a header or a parameter"
    if problem:
        raise InvalidInput(f"This rollout can't be: {problem}.", "Correct it and try again.")


def check_replicas(replicas: ReplicaSpec) -> None:
    """Raises `InvalidInput` for counts that can't be."""
    if not 0 <= replicas.min <= replicas.max or replicas.max < 1:
        raise InvalidInput(
            f"replicas: min {replicas.min} and max {replicas.max} don't go together.",
            "Give 0 ≤ min ≤ max and max ≥ 1.",
        )
    cpu_wrong = replicas.cpu is not None and replicas.cpu <= 0
    if replicas.target < 1 or replicas.spares < 0 or replicas.idle_s < 0 or cpu_wrong:
        raise InvalidInput(
            f"replicas: target {replicas.target}, spares {replicas.spares}, idle "
            f"{replicas.idle_s:g} s and cpu {replicas.cpu} can't be.",
            "Give target ≥ 1, spares ≥ 0, idle ≥ 0 and cpu above 0.",
        )
