"""Projects, applications and runnables, as they are stored. The common rules of
`ports/records.py` hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from volant.domain.application import Application
from volant.domain.event import Event
from volant.domain.principal import Role
from volant.domain.project import Member, Project
from volant.domain.runnable import Runnable, RunnableSpec


class ProjectRecords(Protocol):
    def create(self, project: Project, event: Event) -> bool:
        """Store it with its members; False, and nothing is stored, when the name exists."""
        ...

    def get(self, name: str) -> Project: ...

    def list(self) -> Sequence[Project]:
        """All, by name."""
        ...

    def describe(self, name: str, description: str, event: Event) -> None: ...

    def set_member(self, name: str, member: Member, event: Event) -> None:
        """Add it, or change its role."""
        ...

    def remove_member(self, name: str, principal: str, event: Event) -> None:
        """Raises `NotFound` for one that isn't a member."""
        ...

    def role(self, name: str, principal: str) -> Role | None:
        """Of a member; None for anybody else, and in a project that isn't there."""
        ...

    def standing(self, name: str, principal: str) -> tuple[bool, Role | None]:
        """Whether the project is there, and the role of a member as `role` tells it."""
        ...

    def holds(self, name: str) -> Sequence[str]:
        """What is in it, as `codeset NAME`, `application NAME`, `experiment NAME`, `model
        NAME`. What the default project has by itself, without a row, isn't told."""
        ...

    def delete(self, name: str, event: Event, *, tracked: bool = False) -> None:
        """Raises `Conflict` while anything is in it, but for experiments where `tracked`:
        these go with their runs and logged models, and the event's data gets `experiments`,
        their ids."""
        ...


class ApplicationRecords(Protocol):
    def put(self, application: Application, event: Event) -> Application:
        """Insert, or replace what is stored under its name except for `created_at`. A
        project that isn't there is made. Nothing is stored when nothing changes."""
        ...

    def get(self, name: str) -> Application: ...

    def list(
        self, *, type: str | None = None, workflow: str | None = None, project: str | None = None
    ) -> Sequence[Application]:
        """By name."""
        ...

    def delete(self, name: str, event: Event) -> None: ...


class RunnableRecords(Protocol):
    def create(self, runnable: Runnable, event: Event) -> Runnable:
        """The same description again returns the stored one; raises `Conflict` when
        another has the id."""
        ...

    def update(self, spec: RunnableSpec, event: Event) -> Runnable:
        """The next generation, at the event's time; the same description again changes
        nothing."""
        ...

    def get(self, runnable_id: str) -> Runnable: ...

    def list(self) -> Sequence[Runnable]:
        """All, by id."""
        ...

    def delete(self, runnable_id: str, event: Event) -> None: ...
