"""What git's door needs of the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from volant.codesets.git import Git
from volant.codesets.repository import Repository
from volant.domain.codeset import Codeset
from volant.domain.principal import Principal
from volant.web.api.verbs import Access


class Pushes(Protocol):
    def settle(self, project: str, name: str, by: str) -> Codeset: ...


class Codesets(Protocol):
    git: Git

    @property
    def pushes(self) -> Pushes: ...

    def get(self, project: str, name: str) -> Codeset: ...

    def writable(self, project: str, name: str) -> Codeset: ...

    def room(self, project: str, name: str) -> int: ...

    def repository(self, project: str, name: str) -> Repository: ...


class Mirrors(Protocol):
    def hears(self, project: str, name: str) -> Listening: ...


class Listening(Protocol):
    """One webhook call: it sees the body go by and then judges the headers."""

    def update(self, data: bytes, /) -> None: ...

    def judge(self, headers: Mapping[str, str]) -> None: ...


class Projects(Protocol):
    def within(self, project: str, principal: Principal) -> Principal: ...


class Workbench(Protocol):
    @property
    def projects(self) -> Projects: ...

    @property
    def codesets(self) -> Codesets: ...

    @property
    def mirrors(self) -> Mirrors: ...


class Platform(Protocol):
    """What the door is given: `volant.app`'s platform, or a test's."""

    @property
    def access(self) -> Access: ...

    @property
    def workbench(self) -> Workbench: ...
