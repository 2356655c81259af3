"""Application: what a workflow has put to work, and where it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Application:
    """`deployment` is the deployment that answers at `url`, if it is one of ours."""

    name: str
    type: str
    url: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    workflow: str = ""
    project: str | None = None
    deployment: str | None = None
