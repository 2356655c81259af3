"""Principal, role and token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class Role(IntEnum):
    """Ordered: each role may do all that the ones below it may."""

    VIEWER = 1
    DEVELOPER = 2
    OPERATOR = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True)
class Principal:
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Token:
    """`sha256` of the secret; the secret itself is shown once and never stored."""

    id: str
    principal: str
    role: Role
    sha256: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    time: datetime
    principal: str
    action: str
    subject: str
    outcome: str
    request_id: str = ""
