"""The verbs that MLflow's door calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from volant.domain.principal import Principal
from volant.domain.project import Project
from volant.ports.files import Files
from volant.registry.registered import RegisteredDesk
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.owners import OwnerDesk
from volant.tracking.runs import TrackedRunDesk
from volant.web.api.verbs import Access


class Projects(Protocol):
    """What MLflow calls workspaces."""

    def create(self, name: str, description: str = "", *, by: str | None = None) -> Project: ...

    def ensure(self, name: str, *, by: str | None = None) -> Project: ...

    def get(self, name: str) -> Project: ...

    def list(self) -> Sequence[Project]: ...

    def describe(self, name: str, description: str, *, by: str | None = None) -> Project: ...

    def delete(self, name: str, *, by: str | None = None, tracked: bool = False) -> None: ...

    def within(self, project: str, principal: Principal) -> Principal: ...

    def enter(self, project: str, principal: Principal) -> Principal: ...


class Workbench(Protocol):
    @property
    def projects(self) -> Projects: ...
    @property
    def owners(self) -> OwnerDesk: ...


class Platform(Protocol):
    """What the door is given: `volant.app`'s platform, or a test's."""

    @property
    def experiments(self) -> ExperimentDesk: ...
    @property
    def tracked_runs(self) -> TrackedRunDesk: ...
    @property
    def logged_models(self) -> LoggedModelDesk: ...
    @property
    def registered(self) -> RegisteredDesk: ...
    @property
    def artifact_files(self) -> Files: ...
    @property
    def artifact_parts(self) -> Files:
        """Uploads in parts, while they last."""
        ...

    @property
    def registry_files(self) -> Files:
        """What the registry holds, to read."""
        ...

    @property
    def workbench(self) -> Workbench: ...
    @property
    def access(self) -> Access: ...
