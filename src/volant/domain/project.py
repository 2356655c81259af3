"""Project: what belongs together, and who may do what in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from volant.domain.principal import Role

DEFAULT_PROJECT = "default"  # where what names no project is; it needs no row of its own


@dataclass(frozen=True, slots=True)
class Member:
    """`role` bounds what the principal may do in the project: it takes rights away from a
    token that has more, and gives none to one that has less."""

    principal: str
    role: Role


@dataclass(frozen=True, slots=True)
class Project:
    name: str
    created_at: datetime
    description: str = ""
    members: tuple[Member, ...] = ()
