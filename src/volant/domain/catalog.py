"""Registered workflows: their versions, and the codesets that they are assigned to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """The text of a workflow's manifest as it was given once. Never changed; `version`
    counts from 1."""

    workflow: str
    version: int
    source: str
    sha256: str
    created_at: datetime
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredWorkflow:
    """A workflow by its name. `version` is the newest, which is the one that runs."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    description: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Each push to the codeset `project/codeset` runs the workflow."""

    workflow: str
    project: str
    codeset: str
    created_at: datetime
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A run that somebody wants, or something asks for.

    `codeset` is (project, name); `commit` one of its commits, the head when None.
    `inputs` win over the manifest's defaults. `version` is the workflow's, None the newest.
    `strict`: an environment that can't be had as it is written is refused.
    """

    workflow: str
    codeset: tuple[str, str] | None = None
    commit: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    version: int | None = None
    no_cache: bool = False
    strict: bool = False
    by: str | None = None
    trigger: str | None = None
    run_id: str | None = None
    event_id: str | None = None
