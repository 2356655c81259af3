"""Decision: one thing the platform decided by itself, and why. Never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class DecisionKind(StrEnum):
    TRIGGER = "trigger"
    INGEST = "ingest"
    TUNE = "tune"
    GATE = "gate"
    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RUN = "run"
    PUSH = "push"


class Outcome(StrEnum):
    FIRED = "fired"
    IGNORED = "ignored"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ACTIVATED = "activated"
    FAILED = "failed"
    CHOSEN = "chosen"  # parameters, by a search
    RESUMED = "resumed"  # a step that lost its machine went on from its checkpoint
    ADVANCED = "advanced"  # a rollout went on to its next step
    SETTLED = "settled"  # a live revision proved itself
    ABORTED = "aborted"  # a revision was given up before it was live
    SUPERSEDED = "superseded"  # a newer run came before this one could begin
    REVERTED = "reverted"  # the live one was given up for an earlier one


@dataclass(frozen=True, slots=True)
class Decision:
    """`id` is derived from what it decides on, so deciding twice stores once.

    `reason` is one sentence for a person; `rules` holds each rule's name,
    verdict and numbers, in the order they were judged.
    """

    id: str
    kind: DecisionKind
    subject: str
    outcome: Outcome
    reason: str
    time: datetime
    loop: str | None = None
    run_id: str | None = None
    event_id: str | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sha256: str = ""  # over all the other fields, checked when read
