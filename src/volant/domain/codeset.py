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
    """`head` is the newest commit of `branch`, None while nothing was pushed; `pushes`
    counts how often it changed. `origin` is the outside repository that it mirrors, if
    any."""

    project: str
    name: str
    created_at: datetime
    description: str = ""
    labels: tuple[str, ...] = ()
    branch: str = "main"
    head: str | None = None
    origin: str | None = None
    pushes: int = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a codeset is fetched from, at least every `interval_s` seconds. `salt` makes its
    webhook's secret, together with a key that isn't stored beside it. `error` is why the
    last try, at `tried_at`, failed."""

    project: str
    name: str
    url: str
    interval_s: float
    salt: str
    tried_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a codeset. `message` is all of it, `subject` its first line."""

    version: str
    author: str
    email: str
    time: datetime
    subject: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class CodesetFile:
    """One file at a commit; `bytes` is None for what isn't a file's content (a submodule)."""

    path: str
    bytes: int | None
    sha: str
    executable: bool = False
    link: bool = False
