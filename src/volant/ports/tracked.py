"""What people and their programs track: experiments, runs, measurements, logged models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.query import Search
from volant.domain.tracking import (
    DatasetInput,
    Experiment,
    ExperimentSummary,
    Lifecycle,
    LoggedModel,
    LoggedModelStatus,
    Metric,
    ModelLink,
    Noun,
    TrackedRun,
    TrackingStatus,
)


class ExperimentRecords(Protocol):
    def create(
        self,
        name: str,
        *,
        artifact_location: str = "",
        tags: Mapping[str, str] | None = None,
        project: str = DEFAULT_PROJECT,
        exist_ok: bool = False,
    ) -> Experiment:
        """Raises `Conflict` when the name is taken in the project, unless `exist_ok`;
        `NotFound` for a project that isn't there."""
        ...

    def get(self, experiment_id: str) -> Experiment:
        """Deleted ones too. Raises `NotFound`."""
        ...

    def by_name(self, name: str, project: str = DEFAULT_PROJECT) -> Experiment: ...

    def change(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        lifecycle: Lifecycle | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> Experiment:
        """Its runs follow its lifecycle. `without` is a tag to remove; raises `NotFound`
        when it isn't there, `Conflict` when the name is taken."""
        ...

    def search(self, search: Search) -> tuple[Sequence[Experiment], bool]:
        """A page, and whether there are more after it."""
        ...


class OwnerRecords(Protocol):
    def projects(self, noun: Noun, ids: Iterable[str]) -> Mapping[str, str]:
        """The project of each; what isn't there is left out."""
        ...


class ExperimentSummaries(Protocol):
    def page(
        self, limit: int, offset: int = 0, *, name: str | None = None
    ) -> tuple[Sequence[ExperimentSummary], bool]:
        """Active experiments, those with the newest runs first, `metric` and `best` left
        out; and whether there are more."""
        ...


class TrackedRunRecords(Protocol):
    def create(self, run: TrackedRun) -> TrackedRun: ...

    def get(self, run_id: str) -> TrackedRun:
        """With its data, deleted ones too. Raises `NotFound`."""
        ...

    def change(
        self,
        run_id: str,
        *,
        name: str | None = None,
        status: TrackingStatus | None = None,
        ended_at: datetime | None = None,
        lifecycle: Lifecycle | None = None,
    ) -> TrackedRun: ...

    def search(
        self, experiments: Sequence[str], search: Search
    ) -> tuple[Sequence[TrackedRun], bool]:
        """A page with all data, and whether there are more after it."""
        ...


class Measurements(Protocol):
    """What is logged to an active run. Raises `NotFound` for an unknown run and
    `InvalidInput` for a deleted one."""

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """All or nothing. Raises `InvalidInput` for a param that has another value."""
        ...

    def untag(self, run_id: str, key: str) -> None: ...

    def history(
        self, run_id: str, key: str, limit: int | None = None, offset: int = 0
    ) -> Sequence[Metric]: ...

    def link(
        self,
        run_id: str,
        inputs: Sequence[DatasetInput] = (),
        read: Sequence[ModelLink] = (),
        made: Sequence[ModelLink] = (),
    ) -> None: ...


class LoggedModelRecords(Protocol):
    def create(self, model: LoggedModel) -> LoggedModel: ...

    def get(self, model_id: str) -> LoggedModel: ...

    def change(
        self,
        model_id: str,
        *,
        status: LoggedModelStatus | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> LoggedModel: ...

    def delete(self, model_id: str) -> None: ...

    def search(
        self, experiments: Sequence[str], search: Search
    ) -> tuple[Sequence[LoggedModel], bool]: ...
