"""The verbs of projects, applications and runnables that the API calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from volant.domain.application import Application
from volant.domain.principal import Principal, Role
from volant.domain.project import Project
from volant.domain.runnable import Runnable


class Projects(Protocol):
    def create(self, name: str, description: str = "", *, by: str | None = None) -> Project: ...

    def get(self, name: str) -> Project: ...

    def list(self) -> Sequence[Project]: ...

    def holds(self, name: str) -> Sequence[str]: ...

    def describe(self, name: str, description: str, *, by: str | None = None) -> Project: ...

    def set_member(
        self, name: str, principal: str, role: Role, *, by: str | None = None
    ) -> Project: ...

    def remove_member(self, name: str, principal: str, *, by: str | None = None) -> Project: ...

    def delete(self, name: str, *, by: str | None = None) -> None: ...

    def within(self, project: str, principal: Principal) -> Principal: ...


class Applications(Protocol):
    def record(
        self,
        name: str,
        *,
        type: str = "predictor",
        description: str = "",
        url: str = "",
        workflow: str = "",
        project: str | None = None,
        deployment: str | None = None,
        by: str | None = None,
    ) -> Application: ...

    def get(self, name: str) -> Application: ...

    def list(
        self, *, type: str | None = None, workflow: str | None = None, project: str | None = None
    ) -> Sequence[Application]: ...

    def delete(self, name: str, *, by: str | None = None) -> Application: ...


class Runnables(Protocol):
    def register(self, source: str, *, file: str = ..., by: str | None = None) -> Runnable: ...

    def update(self, source: str, *, file: str = ..., by: str | None = None) -> Runnable: ...

    def get(self, runnable_id: str) -> Runnable: ...

    def list(self, *, kind: str | None = None) -> Sequence[Runnable]: ...

    def delete(self, runnable_id: str, *, by: str | None = None) -> None: ...
