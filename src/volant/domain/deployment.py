"""Deployment: an address that answers; revisions are what answers there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from volant.domain.loop import LogSpec, ReplicaSpec, RolloutSpec


class RevisionStatus(StrEnum):
    PENDING = "pending"  # wanted, nothing runs yet
    READY = "ready"  # one replica loaded the model and answered
    SHADOW = "shadow"  # gets copies of requests; its answers are never returned
    CANARY = "canary"  # answers a share of the requests
    LIVE = "live"  # takes the traffic
    RETIRED = "retired"  # was live
    FAILED = "failed"  # couldn't load or start
    ABORTED = "aborted"  # was given up before it was live


_NOT_LIVE = frozenset({RevisionStatus.FAILED, RevisionStatus.ABORTED})
_ROLLING = frozenset({RevisionStatus.SHADOW, RevisionStatus.CANARY})

REVISION_TRANSITIONS: dict[RevisionStatus, frozenset[RevisionStatus]] = {
    RevisionStatus.PENDING: _NOT_LIVE | {RevisionStatus.READY},
    RevisionStatus.READY: _NOT_LIVE | _ROLLING | {RevisionStatus.LIVE},
    RevisionStatus.SHADOW: _NOT_LIVE | {RevisionStatus.CANARY, RevisionStatus.LIVE},
    RevisionStatus.CANARY: _NOT_LIVE | {RevisionStatus.CANARY, RevisionStatus.LIVE},
    RevisionStatus.LIVE: frozenset({RevisionStatus.RETIRED}),
    RevisionStatus.RETIRED: frozenset(),
    RevisionStatus.FAILED: frozenset(),
    RevisionStatus.ABORTED: frozenset(),
}

WAITING = frozenset({RevisionStatus.PENDING, RevisionStatus.READY})
ROLLING = _ROLLING
OPEN = WAITING | ROLLING  # may still become live


@dataclass(frozen=True, slots=True)
class Settings:
    """How a deployment's versions are rolled out, kept and logged, as its owner set it.
    `rollout` None: at once. `keep`: how many that served before stay reachable. `loaded`
    False: somebody has unloaded the model; deploying again doesn't change that."""

    rollout: RolloutSpec | None = None
    keep: int = 0
    log: LogSpec | None = field(default_factory=LogSpec)
    loaded: bool = True


@dataclass(frozen=True, slots=True)
class Deployment:
    """`port` is kept for good, so that the address outlives restarts."""

    name: str
    model: str
    host: str
    port: int
    replicas: ReplicaSpec
    created_at: datetime
    live_revision: int | None = None
    live_version: int | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Revision:
    """`key` (the run and step that asked) makes asking twice the same revision.

    `rollout` is how it was asked to take over (None: at once). While it bakes, `since` is
    when its present step began, `step` the step's place in the rollout (see
    `volant.serving.stages`), and `percent` its share of the requests; all are None before
    it has traffic, and `since` is None again when nothing is left to judge. `restores` is
    the revision that a rollback brings back; `asked_by` the person who asked, if one did.
    """

    deployment: str
    number: int
    model_version: int
    model_uri: str
    key: str
    status: RevisionStatus
    created_at: datetime
    activated_at: datetime | None = None
    reason: str | None = None
    rollout: RolloutSpec | None = None
    step: int | None = None
    percent: float | None = None
    since: datetime | None = None
    restores: int | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a running replica says of itself."""

    deployment: str
    revision: int
    pid: int
    state: str  # starting | ready | spare | draining | unloaded: it holds no model
    age_s: float
    memory_bytes: int = 0
    requests: int = 0
    in_flight: int = 0
