"""Extension: an outside service that steps use, where it is, and how to get in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")  # of ids, and of keys of configurations


class EndpointType(StrEnum):
    """`internal` is reached from the extension's own zone only."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Scope(StrEnum):
    """Whose runs may use some credentials."""

    GLOBAL = "global"
    PROJECT = "project"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a service. A service's endpoints are equal but for where they are
    reached from."""

    url: str
    type: EndpointType = EndpointType.EXTERNAL
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a service lets its users in with. `configuration` is secret: as it is given, it
    holds the secrets' text; as it is stored, what they are sealed to. `default` is preferred
    to others of its scope."""

    id: str
    scope: Scope = Scope.GLOBAL
    default: bool = False
    projects: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def admits(self, project: str | None, user: str | None) -> bool:
        """Whether a run of `user` in `project` may use them. Those of users may be bound to
        projects as well."""
        if self.scope is Scope.GLOBAL:
            return True
        if self.scope is Scope.PROJECT:
            return project in self.projects
        return user in self.users and (not self.projects or project in self.projects)


@dataclass(frozen=True, slots=True)
class Service:
    """One API of an extension. `resource` is the API's or the protocol's name everywhere
    (s3, mlflow-tracking), `category` what it is good for (model-store). With
    `auth_required`, who has no credentials for it can't use it."""

    id: str
    resource: str = ""
    category: str = ""
    description: str = ""
    auth_required: bool = False
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])
    endpoints: tuple[Endpoint, ...] = ()
    credentials: tuple[Credentials, ...] = ()


@dataclass(frozen=True, slots=True)
class Extension:
    """One installation of a product. `zone` is where it runs: a cluster, a region.
    `builtin` ones are this server itself in another product's role."""

    id: str
    product: str = ""
    version: str = ""
    description: str = ""
    zone: str = ""
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])
    services: tuple[Service, ...] = ()
    registered_at: datetime | None = None
    updated_at: datetime | None = None
    builtin: bool = False
