"""Durable execution of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from volant.domain.run import Run, RunState, StepRequest
from volant.domain.workflow import StepSpec


class StepExecutor(Protocol):
    """What the engine calls for one step. Bound by `app`.

    Both may be called again after a crash, so both are idempotent by
    (`run_id`, `step.name`). An element of a step with `foreach` comes as a step named
    `<step>/<index>`, with a folder of its own.
    """

    def perform(self, request: StepRequest) -> Mapping[str, Any]:
        """Do the work; return JSON outputs. Raises `StepFailed` or another `VolantError`."""
        ...

    def commit(self, request: StepRequest, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store the work's effects with guarded writes; return the final outputs."""
        ...


class Plan(Protocol):
    """A checked workflow, as an engine walks it. Pure: the same answers every time."""

    @property
    def order(self) -> Sequence[str]:
        """Step names, each after all that it needs."""
        ...

    @property
    def needs(self) -> Mapping[str, frozenset[str]]:
        """What each step needs to have ended first."""
        ...

    @property
    def steps(self) -> Mapping[str, StepSpec]: ...

    def wanted(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the step's `when` holds, given the outputs of what it needs."""
        ...

    def items(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> Sequence[Any] | None:
        """The elements of its `foreach`; None without one. Raises `InvalidInput`."""
        ...

    def rendered(
        self, step: str, outputs: Mapping[str, Mapping[str, Any]], item: Any = None
    ) -> StepSpec:
        """The step with the expressions in its inputs, image, environment, command and
        extensions' requirements resolved. Raises `InvalidInput`."""
        ...

    def downstream(self, step: str) -> frozenset[str]:
        """Every step that needs `step`, directly or not."""
        ...


class RunEngine(Protocol):
    def launch(self) -> None:
        """Begin to work: take up the runs that were under way, then new ones. Without
        any, what costs much may wait for the first call about a run."""
        ...

    def warm(self) -> None:
        """A run comes soon: make ready for it, in the background."""
        ...

    def start(self, run: Run) -> None:
        """Enqueue `run`; the same id again does nothing."""
        ...

    def cancel(self, run_id: str) -> None:
        """Stop the run and its steps. Raises `NotFound`, or `Conflict` when it has ended."""
        ...

    def resume(self, run_id: str) -> None:
        """Go on with a cancelled or failed run where it stopped, same id. Raises
        `NotFound`, or `Conflict` when it is under way or has succeeded."""
        ...

    def states(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The present state of each run; ids the engine doesn't know are left out."""
        ...

    def forget(self, run_ids: Sequence[str]) -> None:
        """Remove all that is stored of runs that have ended; unknown ids are passed over.
        Raises `Conflict`, having removed nothing, when one is under way. Whoever keeps a
        record of the run removes it first: a recorded run that isn't known is started."""
        ...

    def close(self) -> None:
        """Stop working. What was under way goes on at the next `launch`."""
        ...
