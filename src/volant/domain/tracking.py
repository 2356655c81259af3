"""Experiments, tracked runs and logged models, in MLflow's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from volant.domain.project import DEFAULT_PROJECT

DEFAULT_EXPERIMENT = "0"  # where a run goes when nobody named an experiment
WORKSPACES = "workspaces"  # the folder of artifacts that has one folder a project
DEFAULT_NAME = "Default"  # of the experiment that this is in each project


class TrackingStatus(StrEnum):
    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Lifecycle(StrEnum):
    ACTIVE = "active"
    DELETED = "deleted"


class Noun(StrEnum):
    """What is of a project, by its id; a registered model's is its name."""

    EXPERIMENT = "experiment"
    RUN = "run"
    LOGGED_MODEL = "logged model"
    MODEL = "registered model"


class LoggedModelStatus(StrEnum):
    PENDING = "LOGGED_MODEL_PENDING"
    READY = "LOGGED_MODEL_READY"
    FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


@dataclass(frozen=True, slots=True)
class Experiment:
    """Its name is its own within its project, which never changes."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    artifact_location: str = ""
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True, slots=True)
class MetricSpan:
    """The latest values of one metric over an experiment's active runs; NaN counts for
    `runs` only."""

    key: str
    runs: int
    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True)
class ExperimentSummary:
    """An experiment at a glance. `metric` is the main one, `greater` whether more of it is
    better (None: nobody knows), `best` its best value. `active`: runs under way."""

    experiment: Experiment
    runs: int
    active: int = 0
    newest: datetime | None = None
    metric: str | None = None
    best: float | None = None
    metrics: tuple[MetricSpan, ...] = ()
    greater: bool | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurement. `timestamp` is in milliseconds since 1970, whatever the client
    says it is; `step` has 64 bits."""

    key: str
    value: float
    step: int
    timestamp: int
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset that a run read: what it is, and where it comes from, as texts."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ModelLink:
    """A logged model that a run made (`step` of the training) or read."""

    model_id: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """`metrics` are the latest values and `latest` the same as measurements; whole
    histories are asked for by key."""

    id: str
    experiment_id: str
    name: str
    status: TrackingStatus
    started_at: datetime
    ended_at: datetime | None = None
    artifact_uri: str = ""
    user: str = ""
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    latest: tuple[Metric, ...] = ()
    inputs: tuple[DatasetInput, ...] = ()
    models_read: tuple[ModelLink, ...] = ()
    models_made: tuple[ModelLink, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that a run logged, before or without being registered."""

    id: str
    experiment_id: str
    name: str
    status: LoggedModelStatus
    artifact_uri: str
    created_at: datetime
    updated_at: datetime
    run_id: str | None = None
    model_type: str = ""
    status_message: str = ""
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: tuple[Metric, ...] = ()
