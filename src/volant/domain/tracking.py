"""Experiments and tracked runs, in MLflow's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class TrackingStatus(StrEnum):
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True, slots=True)
class Experiment:
    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    value: float
    step: int
    time: datetime


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """`metrics` are the latest values; histories are asked for by key."""

    id: str
    experiment_id: str
    name: str
    status: TrackingStatus
    started_at: datetime
    ended_at: datetime | None = None
    artifact_uri: str = ""
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
