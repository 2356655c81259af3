"""Deployment: an address that answers; revisions are what answers there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from volant.domain.loop import ReplicaSpec


class RevisionStatus(StrEnum):
    PENDING = "pending"  # wanted, nothing runs yet
    READY = "ready"  # one replica loaded the model and answered
    LIVE = "live"  # takes the traffic
    RETIRED = "retired"
    FAILED = "failed"


REVISION_TRANSITIONS: dict[RevisionStatus, frozenset[RevisionStatus]] = {
    RevisionStatus.PENDING: frozenset({RevisionStatus.READY, RevisionStatus.FAILED}),
    RevisionStatus.READY: frozenset({RevisionStatus.LIVE, RevisionStatus.FAILED}),
    RevisionStatus.LIVE: frozenset({RevisionStatus.RETIRED}),
    RevisionStatus.RETIRED: frozenset(),
    RevisionStatus.FAILED: frozenset(),
}


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


@dataclass(frozen=True, slots=True)
class Revision:
    """`key` (the run and step that asked) makes asking twice the same revision."""

    deployment: str
    number: int
    model_version: int
    model_uri: str
    key: str
    status: RevisionStatus
    created_at: datetime
    activated_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a running replica says of itself."""

    deployment: str
    revision: int
    pid: int
    state: str  # starting | ready | draining
    age_s: float
    memory_bytes: int = 0
    requests: int = 0
    in_flight: int = 0
