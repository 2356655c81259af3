"""What is told of a deployment's changes: the decision and the event of each.

Their ids follow from the revision and from what is decided, so that deciding twice
stores once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.deployment import Deployment, Revision, RevisionStatus
from volant.domain.event import Event
from volant.domain.loop import RolloutSpec
from volant.serving.stages import Stage, stages

SOURCE = "volant/serving"


def told(
    deployment: Deployment,
    revision: Revision,
    outcome: Outcome,
    event_type: str,
    *,
    reason: str,
    now: datetime,
    kind: DecisionKind = DecisionKind.DEPLOY,
    rules: Sequence[Mapping[str, Any]] = (),
    details: Mapping[str, Any] | None = None,
    by: str | None = None,
    part: str = "",
) -> tuple[Decision, Event]:
    """A decision on `revision` and its event. `part` tells apart what may be decided of
    one revision several times; `by` is the person who did it."""
    ending = identity(revision) + (f"-{part}" if part else "")
    facts = {**_facts(deployment, revision), **({"by": by} if by else {}), **(details or {})}
    decision = Decision(
        id=f"{kind.value}-{outcome.value}-{ending}",
        kind=kind,
        subject=f"deployment/{deployment.name}",
        outcome=outcome,
        reason=reason,
        time=now,
        loop=deployment.name,
        run_id=run_of(revision.key),
        rules=tuple(rules),
        details=facts,
    )
    event = Event(
        id=f"evt-{event_type.rpartition('.')[2]}-{ending}",
        type=event_type,
        source=SOURCE,
        subject=f"deployment/{deployment.name}",
        time=now,
        data={**facts, "reason": reason, **({"rules": list(rules)} if rules else {})},
    )
    return decision, event


def _facts(deployment: Deployment, revision: Revision) -> dict[str, Any]:
    return {
        "deployment": deployment.name,
        "model": deployment.model,
        "revision": revision.number,
        "version": revision.model_version,
        "previous_revision": deployment.live_revision,
        "previous_version": deployment.live_version,
        "run": run_of(revision.key),
    }


def identity(revision: Revision) -> str:
    """Of one asking: a deployment that is made again under its old name is another one."""
    made = revision.created_at.isoformat()
    text = f"{revision.deployment}\n{revision.key}\n{made}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_of(key: str) -> str | None:
    """The run in a key `<run>:<step>`; None for a key that a person gave."""
    run, colon, _ = key.partition(":")
    return run if colon and run else None


# sentences


def named(deployment: Deployment, revision: Revision) -> str:
    """`Revision 3 (version 2 of wine)`."""
    return f"Revision {revision.number} (version {revision.model_version} of {deployment.model})"


def serves_on(deployment: Deployment) -> str:
    """A sentence with a space before it, or nothing when nothing is live."""
    if deployment.live_version is None:
        return ""
    return f" Version {deployment.live_version} serves on."


def share(stage: Stage) -> str:
    """`answers 10 % of the requests`."""
    if stage.status is RevisionStatus.SHADOW:
        return f"gets a copy of {stage.percent:g} % of the requests"
    return f"answers {stage.percent:g} % of the requests"


def going(revision: Revision) -> str:
    """`as a canary at 10 %`, of one that is rolled out now."""
    if revision.status is RevisionStatus.SHADOW:
        return f"as a shadow of {revision.percent or 0:g} %"
    return f"as a canary at {revision.percent or 0:g} %"


def ahead(spec: RolloutSpec, step: int) -> str:
    """`for 2m, then 50 %, then all`: what follows from this step on."""
    later = [f"{stage.percent:g} %" for stage in stages(spec)[step + 1 :]]
    return ", then ".join([f"for {_duration(spec.bake_s)}", *later, "all"])


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
