"""How a step ended, as DBOS stores it: the result of the step's own workflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from volant.domain.run import RunStatus

EACH = "each"  # the record of how many elements a step has


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def moment(millis: int | None) -> datetime | None:
    """Milliseconds since the epoch as a time in UTC."""
    return None if millis is None else datetime.fromtimestamp(millis / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`attempt` counts every attempt, lost ones too; 0 when there was none. `performed`
    tells that a failed step's work was done and only its commit failed. `cached` is the run
    whose outputs these are; `elements` counts those of a step with `foreach`."""

    status: RunStatus
    started_ms: int
    ended_ms: int
    attempt: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: Mapping[str, Any] | None = None
    performed: bool = False
    cached: str | None = None
    elements: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status.value,
            "started": self.started_ms,
            "ended": self.ended_ms,
            "attempt": self.attempt,
            "outputs": self.outputs,
            "error": self.error,
            "performed": self.performed,
            "cached": self.cached,
            "elements": self.elements,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Outcome:
        return cls(
            status=RunStatus(body["status"]),
            started_ms=body["started"],
            ended_ms=body["ended"],
            attempt=body["attempt"],
            outputs=body["outputs"],
            error=body["error"],
            performed=body["performed"],
            cached=body.get("cached"),
            elements=body.get("elements"),
        )


def step_id(run_id: str, step: str) -> str:
    """The workflow identifier of a run's step, or of one element of it."""
    return f"{run_id}:{step}"


def element_name(step: str, index: int) -> str:
    """An element of a step with `foreach`, as a step of its own; no step is named so."""
    return f"{step}/{index}"
