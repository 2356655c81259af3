"""The verbs on projects: make, describe, members, delete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from volant.domain.event import PROJECT_CHANGED, PROJECT_CREATED, PROJECT_DELETED
from volant.domain.principal import Principal, Role
from volant.domain.project import Member, Project
from volant.errors import Conflict, InvalidInput, NotFound
from volant.ports.clock import Clock, Ids
from volant.ports.projects import ProjectRecords
from volant.projects.events import event_of

MAX_DESCRIPTION = 1000
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


class ProjectDesk:
    """The verbs on projects.

    Args:
        records: Where they are stored.
        clock: For the times of creation and change.
        ids: For events' identity.
    """

    def __init__(self, records: ProjectRecords, clock: Clock, ids: Ids) -> None:
        self._records = records
        self._clock = clock
        self._event = partial(event_of, clock, ids, "project")

    def create(self, name: str, description: str = "", *, by: str | None = None) -> Project:
        """A new project. Raises `Conflict` when there is one of this name."""
        project = self._new(name, description)
        if not self._records.create(project, self._event(PROJECT_CREATED, name, by=by)):
            raise Conflict(
                f"There is a project {name!r} already.",
                f"Use it, or change it: volant project update --name {name} --desc TEXT",
                code="project_exists",
            )
        return project

    def ensure(self, name: str, *, by: str | None = None) -> Project:
        """The project of this name, made if it isn't there."""
        project = self._new(name, "")
        if self._records.create(project, self._event(PROJECT_CREATED, name, by=by)):
            return project
        return self._records.get(name)

    def get(self, name: str) -> Project:
        """Raises `NotFound` with the nearest name."""
        return self._records.get(name)

    def list(self) -> Sequence[Project]:
        """All, by name."""
        return self._records.list()

    def holds(self, name: str) -> Sequence[str]:
        """What is in it, as `codeset NAME`, `application NAME`, `experiment NAME`, `model
        NAME`."""
        return self._records.holds(name)

    def describe(self, name: str, description: str, *, by: str | None = None) -> Project:
        """Another description."""
        _check_description(description)
        self._records.describe(name, description, self._event(PROJECT_CHANGED, name, by=by))
        return self._records.get(name)

    def set_member(
        self, name: str, principal: str, role: Role, *, by: str | None = None
    ) -> Project:
        """Add a member, or change its role."""
        if not 0 < len(principal) <= 100:
            raise InvalidInput(
                f"{principal[:80]!r} can't be a principal's name.",
                "Give the name that a token is for.",
                code="bad_name",
            )
        event = self._event(PROJECT_CHANGED, name, by=by, member=principal, role=role.name.lower())
        self._records.set_member(name, Member(principal, role), event)
        return self._records.get(name)

    def remove_member(self, name: str, principal: str, *, by: str | None = None) -> Project:
        """Raises `NotFound` for one that isn't a member."""
        event = self._event(PROJECT_CHANGED, name, by=by, member=principal, role=None)
        self._records.remove_member(name, principal, event)
        return self._records.get(name)

    def delete(self, name: str, *, by: str | None = None, tracked: bool = False) -> None:
        """Raises `Conflict` while anything is in it. With `tracked` its experiments, with
        their runs and logged models, go with it; whoever hears of it removes their files."""
        self._records.delete(name, self._event(PROJECT_DELETED, name, by=by), tracked=tracked)

    def within(self, project: str, principal: Principal) -> Principal:
        """The principal with the rights it has in a project: those of its token, or of its
        membership where these are less. An admin has them all, everywhere."""
        if principal.role is Role.ADMIN:
            return principal
        return _bounded(principal, self._records.role(project, principal.name))

    def enter(self, project: str, principal: Principal) -> Principal:
        """As `within`, in a project that must be there. Raises `NotFound`."""
        if _NAME.fullmatch(project) is None:
            raise NotFound(
                f"There is no project {project[:80]!r}.",
                "`volant project list` shows the projects.",
            )
        there, role = self._records.standing(project, principal.name)
        if not there:  # `get` raises, with the nearest name, unless it came just now
            members = self._records.get(project).members
            role = next((each.role for each in members if each.principal == principal.name), None)
        return principal if principal.role is Role.ADMIN else _bounded(principal, role)

    def _new(self, name: str, description: str) -> Project:
        if _NAME.fullmatch(name) is None:
            raise InvalidInput(
                f"{name[:80]!r} can't be a project's name.",
                "Use 1 to 63 lower-case letters, digits, - and _, a letter or digit first and"
                " last.",
                code="bad_name",
            )
        _check_description(description)
        return Project(name, self._clock.now(), description)


def _bounded(principal: Principal, role: Role | None) -> Principal:
    if role is None or role >= principal.role:
        return principal
    return Principal(principal.name, role)


def _check_description(text: str) -> None:
    if len(text) > MAX_DESCRIPTION:
        raise InvalidInput(
            f"The description has {len(text)} characters; at most {MAX_DESCRIPTION} are kept.",
            "Shorten it.",
            code="bad_description",
        )
