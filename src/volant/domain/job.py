"""Job: one process to run to its end on a compute adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class JobStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    LOST = "lost"  # the machinery died, not the job's own code: try again


@dataclass(frozen=True, slots=True)
class Job:
    """`entry` (`module:function`, called as `fn(inputs, StepContext) -> dict`)
    forks from the zygote of `profile`; `command` runs in a shell instead.
    Every line of stdout and stderr goes to `log_path` as JSON
    `{"time", "stream", "text"}`. `preemptible`: it keeps checkpoints, so that whoever
    takes its machine away costs it little. `mounts`, for an `image`: folders of this
    machine by the path at which its container has them. `part`: what of the step it is,
    where that has several jobs (`Trial 3`).
    """

    id: str
    step: str
    run_id: str
    attempt: int
    workdir: Path
    log_path: Path
    inputs: Mapping[str, Any]
    entry: str | None = None
    profile: str = "train"
    command: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float | None = None
    memory_bytes: int | None = None
    preemptible: bool = False
    cwd: Path | None = None  # where it begins; `workdir` when absent
    image: str | None = None  # a container image; none runs it as a process here
    cpu: float | None = None  # cores
    # Secrets it was given, which its log doesn't keep; see `masking.maskable`.
    mask: tuple[str, ...] = field(default=(), repr=False)
    mounts: Mapping[str, Path] = field(default_factory=dict[str, Path])
    part: str | None = None

    @property
    def title(self) -> str:
        """What messages call it, at the beginning of a sentence."""
        return self.part or f"Step {self.step}"


@dataclass(frozen=True, slots=True)
class JobResult:
    status: JobStatus
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    exit_code: int | None = None
    error: Mapping[str, Any] | None = None  # VolantError.to_dict()
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
