"""The verbs of the platform that the API calls: one Protocol a room.

The API is written against these and not against the rooms' classes, so that it can be
tried on a platform of plain objects and so that what it needs is told in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from volant.codesets.desk import CodesetDesk
from volant.codesets.mirrors import Mirrors
from volant.domain.catalog import Assignment, RegisteredWorkflow, Wish, WorkflowVersion
from volant.domain.dataset import Dataset, DatasetVersion, Push
from volant.domain.decision import Decision
from volant.domain.deployment import Revision
from volant.domain.event import Event
from volant.domain.loop import Loop, RolloutSpec
from volant.domain.model import ModelVersion
from volant.domain.principal import AuditEntry, Principal, Role, Token
from volant.domain.run import Run, RunState, RunStatus
from volant.domain.statistics import TrainingStatistics
from volant.domain.tracking import (
    Experiment,
    ExperimentSummary,
    Lifecycle,
    Metric,
    TrackedRun,
)
from volant.extensions.desk import ExtensionDesk
from volant.web.api.project_verbs import Applications, Projects, Runnables
from volant.workflows.outside import OutsideDesk


class Data(Protocol):
    def upload(self, dataset: str, filename: str, chunks: Iterable[bytes]) -> Mapping[str, Any]: ...

    def push(
        self,
        dataset: str,
        upload_ids: Sequence[str],
        options: Mapping[str, Any],
        key: str | None = None,
    ) -> Push: ...

    def get_push(self, push_id: str) -> Push: ...

    def pushes(
        self, dataset: str, limit: int, before: str | None
    ) -> tuple[Sequence[Push], str | None]: ...

    def list(self) -> Sequence[Dataset]: ...

    def get(self, name: str) -> Dataset: ...

    def versions(
        self, name: str, limit: int, before: str | None
    ) -> tuple[Sequence[DatasetVersion], str | None]: ...

    def rows(self, name: str, version: int | None, limit: int) -> Mapping[str, Any]: ...

    def quarantine(
        self, name: str, push: str | None, limit: int
    ) -> Sequence[Mapping[str, Any]]: ...

    def release(
        self, name: str, push: str | None, rows: Sequence[str] | None, force: bool
    ) -> Push: ...


class Predictions(Protocol):
    def read(self, deployment: str, limit: int, since: str | None) -> Mapping[str, Any]: ...


class Batches(Protocol):
    def start(self, name: str, request: Mapping[str, Any], by: str) -> Mapping[str, Any]: ...


class Loops(Protocol):
    def plan(self, source: str, code: bytes | None = None) -> Mapping[str, Any]: ...

    def apply(self, source: str, code: bytes | None = None, *, name: str | None = None) -> Loop: ...

    def get(self, name: str) -> Loop: ...

    def list(self) -> Sequence[Loop]: ...

    def delete(self, name: str) -> None: ...


class Runs(Protocol):
    def get(self, run_id: str) -> tuple[Run, RunState]: ...

    def page(
        self,
        limit: int,
        before: str | None,
        loop: str | None,
        *,
        status: frozenset[RunStatus] | None = None,
        **only: Any,
    ) -> tuple[Sequence[tuple[Run, RunState]], str | None]: ...

    def cancel(self, run_id: str) -> None: ...

    def resume(self, run_id: str) -> None: ...

    def retry(self, run_id: str, from_step: str | None) -> Run: ...

    def logs(self, run_id: str, step: str | None, after: str | None) -> Mapping[str, Any]: ...


class Models(Protocol):
    def get(self, name: str, version: int | str) -> ModelVersion: ...

    def page(
        self, limit: int, before: str | None = None, *, name: str | None = None
    ) -> tuple[Sequence[ModelVersion], str | None]: ...


class Registrations(Protocol):
    def upload(self, name: str, filename: str, chunks: Iterable[bytes]) -> Mapping[str, Any]: ...

    def register(self, name: str, upload: str, wishes: Mapping[str, Any]) -> Any: ...

    def prepare(self, name: str, version: int | str, wishes: Mapping[str, Any]) -> Any: ...

    def get(self, name: str, registration_id: str) -> Any: ...


class Registry(Protocol):
    def delete(self, name: str, version: int | str) -> None: ...

    def retire(self, name: str, version: int | str, by: str) -> ModelVersion: ...

    def tag(
        self, name: str, version: int | str, tags: Mapping[str, str | None]
    ) -> Mapping[str, str]: ...

    def alias(self, name: str, alias: str, version: int | str | None) -> Mapping[str, int]: ...

    def check(self, name: str, version: int | str | None) -> Sequence[Mapping[str, Any]]: ...

    def diff(self, a: tuple[str, int | str], b: tuple[str, int | str]) -> Mapping[str, Any]: ...

    def card(self, name: str, version: int | str, form: Literal["md", "html"]) -> str: ...

    def statistics(self, name: str, version: int | str) -> TrainingStatistics: ...

    def export(self, name: str, version: int | str, *, without_pickles: bool = False) -> Any: ...

    def import_file(self, name: str, upload: str, trusted_by: str | None = None) -> Any: ...

    def prune(self, keep: int, name: str | None, *, apply: bool) -> Sequence[Any]: ...


class Deployments(Protocol):
    def list(self) -> Sequence[Mapping[str, Any]]: ...

    def get(self, name: str) -> Mapping[str, Any]: ...

    def revision(self, name: str, number: int) -> Mapping[str, Any]: ...

    def revisions(
        self, name: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]: ...

    def request(
        self,
        name: str,
        model: str,
        version: int | str | None,
        *,
        key: str | None = None,
        changes: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        rollout: RolloutSpec | Literal["now"] | None = None,
        by: str | None = None,
    ) -> Revision: ...

    def promote(self, name: str, *, by: str, reason: str = "") -> Revision: ...

    def abort(self, name: str, *, by: str, reason: str = "") -> Revision: ...

    def rollback(
        self, name: str, *, by: str, to: str | None = None, reason: str = "", key: str | None = None
    ) -> Revision: ...

    def load(self, name: str, *, loaded: bool, by: str) -> Mapping[str, Any]: ...

    def scale(self, name: str, changes: Mapping[str, Any], *, by: str) -> Mapping[str, Any]: ...

    def set(self, name: str, changes: Mapping[str, Any], *, by: str) -> Mapping[str, Any]: ...

    def delete(self, name: str, *, by: str | None = None) -> None: ...


class Monitoring(Protocol):
    def history(
        self, name: str, since: datetime | None, step_s: int | None
    ) -> Mapping[str, Any]: ...

    def log(self, name: str, limit: int, after: str | None) -> Mapping[str, Any]: ...


class Tracking(Protocol):
    def get(self, run_id: str) -> TrackedRun: ...

    def history(self, run_id: str, key: str) -> Sequence[Metric]: ...


class Experiments(Protocol):
    def get(self, experiment_id: str) -> Experiment: ...


class Summaries(Protocol):
    def page(
        self, limit: int, offset: int = 0, *, name: str | None = None
    ) -> tuple[Sequence[ExperimentSummary], bool]: ...


class SearchesOfRuns(Protocol):
    def progress(self, run_id: str) -> Mapping[str, Any]: ...


class TrackedRuns(Protocol):
    def search(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        order_by: Sequence[str],
        lifecycles: Sequence[Lifecycle],
        page: Mapping[str, int],
    ) -> tuple[Sequence[TrackedRun], bool]: ...


class Decisions(Protocol):
    def get(self, decision_id: str) -> Decision: ...

    def page(
        self,
        limit: int,
        before: str | None = None,
        *,
        loop: str | None = None,
        subject: str | None = None,
    ) -> tuple[Sequence[Decision], str | None]: ...


class Events(Protocol):
    def page(
        self, limit: int, before: str | None = None, *, subject: str | None = None
    ) -> tuple[Sequence[Event], str | None]: ...


class Access(Protocol):
    def authenticate(self, secret: str) -> Principal: ...

    def allow(self, principal: Principal, permission: str) -> None: ...

    def note(
        self, principal: str, action: str, subject: str, outcome: str, request_id: str = ""
    ) -> None: ...

    def audit_page(
        self, limit: int, before: str | None = None
    ) -> tuple[Sequence[AuditEntry], str | None]: ...

    def tokens(self) -> Sequence[Token]: ...

    def issue(self, principal: str, role: Role) -> tuple[Token, str]: ...

    def revoke(self, token_id: str) -> Token: ...


class Workflows(Protocol):
    def create(
        self, source: str, *, by: str | None = None, file: str = ""
    ) -> RegisteredWorkflow: ...

    def update(
        self, source: str, *, by: str | None = None, file: str = "", name: str | None = None
    ) -> RegisteredWorkflow: ...

    def get(self, name: str) -> RegisteredWorkflow: ...

    def view(self, name: str, version: int | None = None) -> dict[str, Any]: ...

    def list(self) -> Sequence[RegisteredWorkflow]: ...

    def version(self, name: str, version: int | None = None) -> WorkflowVersion: ...

    def versions(self, name: str) -> Sequence[WorkflowVersion]: ...

    def delete(self, name: str, *, by: str | None = None) -> Sequence[Assignment]: ...

    def plan(
        self, wish: Wish, *, source: str | None = None, file: str = ""
    ) -> Mapping[str, Any]: ...

    def run(self, wish: Wish) -> Run: ...


class Assignments(Protocol):
    def assign(
        self, workflow: str, project: str, codeset: str, *, by: str | None = None
    ) -> tuple[Assignment, Run | None]: ...

    def unassign(
        self, workflow: str, project: str, codeset: str, *, by: str | None = None
    ) -> None: ...

    def list(
        self, workflow: str | None = None, project: str | None = None, codeset: str | None = None
    ) -> Sequence[Assignment]: ...


class RunRetention(Protocol):
    def prune(
        self,
        *,
        keep: int | None = None,
        older_than_s: float | None = None,
        apply: bool = False,
    ) -> Sequence[Any]: ...


class Workbench(Protocol):
    """Projects, codesets, workflows, extensions: one attribute a room."""

    @property
    def projects(self) -> Projects: ...
    @property
    def applications(self) -> Applications: ...
    @property
    def runnables(self) -> Runnables: ...

    @property
    def workflows(self) -> Workflows: ...
    @property
    def assignments(self) -> Assignments: ...
    @property
    def retention(self) -> RunRetention: ...
    @property
    def outside(self) -> OutsideDesk: ...
    @property
    def extensions(self) -> ExtensionDesk: ...
    @property
    def codesets(self) -> CodesetDesk: ...
    @property
    def mirrors(self) -> Mirrors: ...


class Platform(Protocol):
    """What `create_app` is given: `volant.app`'s platform, or a test's."""

    @property
    def data(self) -> Data: ...
    @property
    def loops(self) -> Loops: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def models(self) -> Models: ...
    @property
    def registrations(self) -> Registrations: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def deployments(self) -> Deployments: ...
    @property
    def monitoring(self) -> Monitoring: ...
    @property
    def tracking(self) -> Tracking: ...
    @property
    def experiments(self) -> Experiments: ...
    @property
    def summaries(self) -> Summaries: ...
    @property
    def tracked_runs(self) -> TrackedRuns: ...
    @property
    def searches(self) -> SearchesOfRuns: ...
    @property
    def decisions(self) -> Decisions: ...
    @property
    def events(self) -> Events: ...
    @property
    def access(self) -> Access: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def batches(self) -> Batches: ...
    @property
    def workbench(self) -> Workbench: ...

    def status(self) -> Mapping[str, Any]: ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The text for a scraper that sends this `Accept`, and its content type."""
        ...

    def run_loop(self, name: str, principal: str) -> Run: ...
