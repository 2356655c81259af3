"""What a call of MLflow's protocol is, and the table that all of them make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volant.access.permissions import Permission
from volant.domain.principal import Principal
from volant.web.mlflow.fields import Fields
from volant.web.mlflow.verbs import Platform


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: its parameters, who asks, and the platform that answers. `project` is the
    workspace that it is for."""

    platform: Platform
    fields: Fields
    principal: Principal
    project: str


Handler = Callable[[Asked], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """`path` below `/mlflow`; `audit` is the subject of the audit entry with parameters in
    braces, None for what changes nothing and for what is measured thousands of times.
    `status` is that of success; 204 has no body."""

    method: str
    path: str
    permission: Permission
    handler: Handler
    audit: str | None = None
    status: int = 200
