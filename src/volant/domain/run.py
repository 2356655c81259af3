"""Run: one execution of a workflow, and what the engine says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from volant.domain.workflow import ExtensionBinding, WorkflowSpec

# The folder within a step's own one for files of its inputs. Secrets may be among them: it is
# gone when the step's work ends.
INPUT_FILES = "input-files"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # steps only


TERMINAL = frozenset(
    {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED}
)


@dataclass(frozen=True, slots=True)
class Run:
    """The unchanging facts of a run; its state is the engine's alone.

    `queue_key` serialises: two runs with one key never run side by side.
    `project` and `codeset` name what a registered workflow was started for.
    A retry (`retry_of` is set) takes over the outputs of the steps that succeeded
    there, except `from_step` and what comes after it.
    """

    id: str
    workflow: WorkflowSpec
    created_at: datetime
    loop: str | None = None
    generation: int | None = None
    event_id: str | None = None
    trigger: str | None = None
    queue_key: str | None = None
    retry_of: str | None = None
    from_step: str | None = None
    project: str | None = None
    codeset: str | None = None
    started_by: str | None = None


@dataclass(frozen=True, slots=True)
class StepState:
    name: str
    status: RunStatus
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: Mapping[str, Any] | None = None
    cached: str | None = None  # the run whose outputs it took over
    # of a step with `foreach`: total, ended, and running while it runs or failed at its end
    elements: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    run_id: str
    status: RunStatus
    steps: tuple[StepState, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StepRequest:
    """All that a step needs: expressions resolved, its own folder made.

    `workdir` belongs to this run and step alone and outlives attempts. `version` is that
    of a registered workflow, else 0; `started_by` who asked for the run.
    """

    run_id: str
    step: StepSpecRef
    inputs: Mapping[str, Any]
    attempt: int
    workdir: Path
    loop: str | None = None
    workflow: str = ""
    version: int = 0
    project: str | None = None
    started_by: str | None = None


@dataclass(frozen=True, slots=True)
class StepSpecRef:
    """The parts of a step's spec that its execution needs, expressions resolved."""

    name: str
    uses: str | None = None
    call: str | None = None
    run: str | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str | None = None
    cpu: float | None = None
    outputs: tuple[str, ...] = ()
    extensions: Mapping[str, ExtensionBinding] = field(default_factory=dict[str, ExtensionBinding])


@dataclass(frozen=True, slots=True)
class StepContext:
    """What code inside a step process may know of where it runs."""

    run_id: str
    step: str
    attempt: int
    workdir: Path
    checkpoint_dir: Path
