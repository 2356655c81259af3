"""A rollout's steps: what share a revision has in each, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass

from volant.domain.deployment import RevisionStatus, Settings
from volant.domain.loop import ReplicaSpec, RolloutSpec
from volant.errors import InvalidInput

_MOST = 64  # replicas


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
    elif spec.p95_ms is not None and not 0 < spec.p95_ms <= 3_600_000:
        problem = "p95_ms is above 0, and an hour at most"
    elif spec.min_requests < 1:
        problem = "min_requests is at least 1"
    elif spec.sticky and (spec.sticky.header is None) == (spec.sticky.parameter is None):
        problem = "sticky names a header or a parameter"
    if problem:
        raise InvalidInput(f"This rollout can't be: {problem}.", "Correct it and try again.")


def check_replicas(replicas: ReplicaSpec) -> None:
    """Raises `InvalidInput` for counts and limits that can't be: those that a loop file
    can't have either."""
    if not 0 <= replicas.min <= replicas.max <= _MOST or replicas.max < 1:
        raise InvalidInput(
            f"replicas: min {replicas.min} and max {replicas.max} don't go together.",
            f"Give 0 ≤ min ≤ max and a max of 1 to {_MOST}.",
        )
    problem = None
    if not 1 <= replicas.idle_s <= 30 * 86400:
        problem = f"idle is 1 second to 30 days, not {replicas.idle_s:.12g} s"
    elif replicas.memory_bytes is not None and not 2**26 <= replicas.memory_bytes <= 2**46:
        problem = f"memory is 64MiB to 64TiB, or none, not {replicas.memory_bytes} bytes"
    elif replicas.cpu is not None and not 0.01 <= replicas.cpu <= 1024:
        problem = f"cpu is 0.01 to 1024 cores, or none, not {replicas.cpu:g}"
    elif not 1 <= replicas.target <= 10_000:
        problem = f"target is 1 to 10000 requests, not {replicas.target}"
    elif not 0 <= replicas.spares <= 16:
        problem = f"spares are 0 to 16, not {replicas.spares}"
    if problem:
        raise InvalidInput(f"These replicas can't be: {problem}.", "Correct it and try again.")


def check_settings(settings: Settings) -> None:
    """Raises `InvalidInput` for settings that can't be."""
    if settings.rollout is not None:
        check_rollout(settings.rollout)
    problem = None
    if not 0 <= settings.keep <= 20:
        problem = f"keep is 0 to 20 versions, not {settings.keep}"
    elif settings.log is not None and not 0 < settings.log.sample <= 1:
        problem = f"a log's sample is above 0 and at most 1, not {settings.log.sample:g}"
    elif settings.log is not None and not 2**20 <= settings.log.max_bytes <= 2**46:
        problem = f"a log's bound is 1MiB to 64TiB, not {settings.log.max_bytes} bytes"
    if problem:
        raise InvalidInput(f"These settings can't be: {problem}.", "Correct it and try again.")
