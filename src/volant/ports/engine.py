"""Durable execution of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from volant.domain.run import Run, RunState, StepRequest


class StepExecutor(Protocol):
    """What the engine calls for one step. Bound by `app`.

    Both may be called again after a crash, so both are idempotent by
    (`run_id`, `step.name`).
    """

    def perform(self, request: StepRequest) -> Mapping[str, Any]:
        """Do the work; return JSON outputs. Raises `StepFailed` or another `VolantError`."""
        ...

    def commit(self, request: StepRequest, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store the work's effects with guarded writes; return the final outputs."""
        ...


class RunEngine(Protocol):
    def start(self, run: Run) -> None:
        """Enqueue `run`; the same id again does nothing."""
        ...

    def cancel(self, run_id: str) -> None:
        """Stop the run and its steps. Raises `NotFound`, or `Conflict` when it has ended."""
        ...

    def resume(self, run_id: str) -> None:
        """Go on with a cancelled or failed run where it stopped, same id."""
        ...

    def states(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The present state of each run; ids the engine doesn't know are left out."""
        ...

    def close(self) -> None: ...
