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
    """One call: its parameters, who asks, and the platform that answers."""

    platform: Platform
    fields: Fields
    principal: Principal


Handler = Callable[[Asked], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """`path` below `/mlflow`; `audit` is the subject of the audit entry with parameters in
    braces, None for what changes nothing and for what is measured thousands of times."""

    method: str
    path: str
    permission: Permission
    handler: Handler
    audit: str | None = None
