"""Trigger: what starts a loop's workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Trigger:
    """`kind` is `data` (then `dataset` is set) or `cron` (then `cron` is)."""

    id: str
    loop: str
    kind: str
    dataset: str | None = None
    cron: str | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """One event met one trigger; (event, trigger) is unique."""

    event_id: str
    trigger_id: str
    run_id: str | None
    reason: str
    time: datetime
