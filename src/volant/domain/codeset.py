"""Codeset: a git repository of code that workflows run. Its versions are commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CodesetRef:
    """One commit of a codeset. `version` is the commit's full hash, `url` where git
    clones it from."""

    project: str
    name: str
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class Codeset:
    """`head` is the newest commit of `branch`, None while nothing was pushed. `origin` is
    the outside repository that it mirrors, if any."""

    project: str
    name: str
    created_at: datetime
    description: str = ""
    labels: tuple[str, ...] = ()
    branch: str = "main"
    head: str | None = None
    origin: str | None = None
