"""Runs, as the API and the command line use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from volant.domain.event import RUN_FINISHED, RUN_STARTED, Event
from volant.domain.run import TERMINAL, Run, RunState, RunStatus, StepState
from volant.errors import Conflict, NotFound
from volant.ports.clock import Clock, Ids
from volant.ports.engine import RunEngine
from volant.ports.records import RunRecords
from volant.workflows.expressions import nearest
from volant.workflows.logs import log_folders, read_logs
from volant.workflows.plan import plan_workflow
from volant.yamltext import problems

_DIGITS = 10  # of a number that names an element, at most
SEARCHED = 200  # newest runs that are looked through for a misspelt or a forgotten one


class RunDesk:
    """Start, look at, stop and repeat runs.

    Args:
        runs: The stored facts.
        engine: Knows the states; the only one that does.
        home: Logs lie in `home/runs/<run>/<step>/log.jsonl`.
        clock: For a retry's and an event's time.
        ids: For a retry's identity.
        why_cancelled: Why a run was cancelled, as an error's `to_dict`, if it is known.
    """

    def __init__(
        self,
        runs: RunRecords,
        engine: RunEngine,
        home: Path,
        clock: Clock,
        ids: Ids,
        *,
        why_cancelled: Callable[[str], Mapping[str, Any] | None] = lambda run_id: None,
    ) -> None:
        self._runs = runs
        self._engine = engine
        self._runs_dir = home / "runs"
        self._clock = clock
        self._ids = ids
        self._why_cancelled = why_cancelled

    def start(self, run: Run) -> Run:
        """Store `run` and enqueue it; the same id again changes nothing.

        Raises `InvalidInput` when its workflow can't run; then nothing is stored.
        """
        plan_workflow(run.workflow)
        event = Event(
            id=f"evt-started-{run.id}",
            type=RUN_STARTED,
            source="volant/workflows",
            subject=f"run/{run.id}",
            time=run.created_at,
            data={"workflow": run.workflow.name, "loop": run.loop, "retry_of": run.retry_of},
        )
        stored = self._runs.create(run, event)
        self._engine.start(stored)
        return stored

    def recover(self) -> Sequence[str]:
        """Enqueue the runs that were stored just before a crash; returns their ids."""
        newest, _ = self._runs.page(SEARCHED)
        known = self._engine.states([run.id for run in newest])
        forgotten = [run for run in newest if run.id not in known]
        for run in reversed(forgotten):
            self._engine.start(run)
        return [run.id for run in forgotten]

    def get(self, run_id: str) -> tuple[Run, RunState]:
        """A run's facts and its state now. Raises `NotFound` with the nearest id."""
        run = self._find(run_id)
        return run, self._state(run, self._engine.states([run_id]))

    def page(
        self,
        limit: int,
        before: str | None = None,
        loop: str | None = None,
        *,
        status: frozenset[RunStatus] | None = None,
        **only: Any,
    ) -> tuple[list[tuple[Run, RunState]], str | None]:
        """Runs with their states, newest first, and the next page's cursor. `only`: the
        `workflow`, `project`, `codeset` (`project/name`) that they must be of, and
        `registered`, for those of registered workflows."""
        if status is None:
            runs, cursor = self._runs.page(limit, before, loop=loop, **only)
            return self.with_states(runs), cursor
        found: list[tuple[Run, RunState]] = []
        while len(found) < limit:
            runs, cursor = self._runs.page(SEARCHED, before, loop=loop, **only)
            for place, each in enumerate(self.with_states(runs), start=1):
                if each[1].status not in status:
                    continue
                found.append(each)
                if len(found) == limit and place < len(runs):
                    # Where the next page begins is known to the store alone.
                    _, cursor = self._runs.page(place, before, loop=loop, **only)
                    return found, cursor
            if cursor is None:
                break
            before = cursor
        else:
            return found, before
        return found, None

    def facts(self, limit: int, **only: Any) -> Sequence[Run]:
        """Runs without their states, newest first; `only` as in `page`."""
        return self._runs.page(limit, None, **only)[0]

    def with_states(self, runs: Sequence[Run]) -> list[tuple[Run, RunState]]:
        """Each run with its state now."""
        states = self._engine.states([run.id for run in runs])
        return [(run, self._state(run, states)) for run in runs]

    def folder(self, run_id: str) -> Path:
        """Where a run's steps work and write their logs."""
        return self._runs_dir / run_id

    def forget(self, run_ids: Sequence[str]) -> None:
        """Let the engine drop runs whose rows are gone."""
        self._engine.forget(run_ids)

    def known(self, run_id: str) -> bool:
        """Whether a run with this id was started."""
        try:
            self._runs.get(run_id)
        except NotFound:
            return False
        return True

    def cancel(self, run_id: str) -> None:
        """Stop a run and its steps. Raises `NotFound`, `Conflict` when it has ended."""
        self._enqueued(self._find(run_id))
        self._engine.cancel(run_id)

    def resume(self, run_id: str) -> None:
        """Go on with a cancelled or failed run. Raises `NotFound`, `Conflict` when it is
        under way or has succeeded."""
        self._enqueued(self._find(run_id))
        self._engine.resume(run_id)

    def retry(self, run_id: str, from_step: str | None = None) -> Run:
        """Start a new run of the same workflow. It takes over what succeeded in the old
        one, except `from_step` and the steps after it.

        Raises `NotFound` for an unknown run or step, `Conflict` when the run is still
        under way, or has succeeded and no step is named.
        """
        run, state = self.get(run_id)
        if from_step is not None:
            _check_step(run, from_step)
        if state.status not in TERMINAL:
            raise Conflict(
                f"Run {run_id} is {state.status.value}.",
                f"Wait for its end, or stop it first: volant runs cancel {run_id}",
                details={"run": run_id, "status": state.status.value},
            )
        if from_step is None and state.status is RunStatus.SUCCEEDED:
            raise Conflict(
                f"Run {run_id} has succeeded: there is nothing to repeat.",
                "Name the step to begin from:"
                f" volant runs retry {run_id} --from {run.workflow.steps[0].name}",
                details={"run": run_id, "status": state.status.value},
            )
        again = replace(
            run,
            id=self._ids.new("run"),
            created_at=self._clock.now(),
            retry_of=run.id,
            from_step=from_step,
        )
        return self.start(again)

    def logs(
        self, run_id: str, step: str | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """The next lines of a run's log, or of one step's; see `read_logs`. `STEP/3` is the
        element 3 of a step with `foreach`.

        Raises `NotFound` for an unknown run or step, `InvalidInput` for a bad cursor.
        """
        run = self._find(run_id)
        folder = self._runs_dir / run_id
        element = None
        if step is not None:
            step, element = _step_and_element(run, step)
        # The state first: what was written before the end is then read after it.
        state = self._state(run, self._engine.states([run_id]))
        ended = state.status in TERMINAL
        of_step = next((entry for entry in state.steps if entry.name == step), None)
        if of_step is not None:
            ended = ended or of_step.status in TERMINAL
            _check_element(run, of_step, element)
        names = [
            name
            for spec in run.workflow.steps
            if step in (None, spec.name)
            for name in log_folders(folder, spec.name, foreach=spec.foreach is not None)
            if element in (None, name)
        ]
        return read_logs(folder, names, after, ended=ended)

    def _find(self, run_id: str) -> Run:
        try:
            return self._runs.get(run_id)
        except NotFound as error:
            newest, _ = self._runs.page(SEARCHED)
            known = [run.id for run in newest]
            raise NotFound(
                f"There is no run {run_id!r}.",
                _like(run_id, known) if known else "No run has been started yet.",
                details={"run": run_id},
            ) from error

    def _enqueued(self, run: Run) -> None:
        """Make sure that the engine knows a run that was stored just before a crash."""
        if run.id not in self._engine.states([run.id]):
            self._engine.start(run)

    def _state(self, run: Run, states: Mapping[str, RunState]) -> RunState:
        known = states.get(run.id)
        if known is not None:
            if known.status is RunStatus.CANCELLED and known.error is None:
                return replace(known, error=self._why_cancelled(run.id))
            return known
        steps = tuple(StepState(spec.name, RunStatus.QUEUED) for spec in run.workflow.steps)
        return RunState(run.id, RunStatus.QUEUED, steps)


def finished_event(
    run: Run, status: RunStatus, error: Mapping[str, Any] | None, time: datetime
) -> Event:
    """The event of a run's end. Its id names run and status: a run that is resumed after
    a failure may end twice, differently."""
    return Event(
        id=f"evt-finished-{run.id}-{status.value}",
        type=RUN_FINISHED,
        source="volant/workflows",
        subject=f"run/{run.id}",
        time=time,
        data={
            "workflow": run.workflow.name,
            "loop": run.loop,
            "status": status.value,
            "error": dict(error) if error else None,
        },
    )


def _like(run_id: str, known: Sequence[str]) -> str:
    near = problems.nearest(run_id, known, cutoff=0.9)  # ids are alike anyway
    show = "`volant runs` lists them."
    return f"Did you mean {near}? {show}" if near else show


def _step_and_element(run: Run, name: str) -> tuple[str, str | None]:
    """A step's name, and the whole when it names an element. Raises `NotFound`."""
    step, _, number = name.partition("/")
    foreach = any(spec.name == step and spec.foreach for spec in run.workflow.steps)
    if foreach and number.isdecimal() and len(number) < _DIGITS:
        return step, f"{step}/{int(number)}"
    _check_step(run, name)
    return name, None


def _check_element(run: Run, step: StepState, element: str | None) -> None:
    """Raises `NotFound` when it is known that the step has no such element."""
    total = (step.elements or {}).get("total")
    if element is None or total is None or int(element.partition("/")[2]) < total:
        return
    there = f"They are {step.name}/0 to {step.name}/{total - 1}." if total else "Its list is empty."
    raise NotFound(
        f"Step {step.name!r} of run {run.id} has {total} elements, no {element}.",
        there,
        details={"run": run.id, "step": step.name, "elements": total},
    )


def _check_step(run: Run, step: str) -> None:
    names = [spec.name for spec in run.workflow.steps]
    if step not in names:
        raise NotFound(
            f"Run {run.id} has no step {step!r}.",
            nearest(step, names),
            details={"run": run.id, "step": step},
        )
