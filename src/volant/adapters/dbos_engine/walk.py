"""A run: start each step when all it needs has ended, until nothing is left to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dbos import DBOS, SetWorkflowID
from dbos._error import DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError

from volant.adapters.dbos_engine.database import Halt
from volant.adapters.dbos_engine.entry import outside, step_workflow
from volant.adapters.dbos_engine.outcome import Outcome, now_ms, step_id
from volant.adapters.dbos_engine.plain import plain_error
from volant.adapters.dbos_engine.slots import Slots
from volant.adapters.dbos_engine.work import Registry
from volant.domain.run import Run, RunState, RunStatus
from volant.errors import Unavailable, VolantError
from volant.ports.engine import Plan

LOOK_S = 1.0  # how often a run looks whether it is still wanted
LOOK_ELSEWHERE_S = 0.05  # the same while a step of it ends out of our sight
LOAD_ATTEMPTS = 60
GOOD = (RunStatus.SUCCEEDED, RunStatus.SKIPPED)

Ended = Callable[[str, RunStatus, Mapping[str, Any] | None], None]


@dataclass
class Board:
    """Where a run learns that its steps ended. `elsewhere` are steps that no thread
    started by this run does: after a crash DBOS itself starts them again."""

    wake: threading.Event = field(default_factory=threading.Event)
    ended: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    elsewhere: set[str] = field(default_factory=set[str])
    look: bool = False  # at the database, at once

    def missing(self) -> set[str]:
        """Steps whose end only the database will tell."""
        return self.elsewhere - self.ended.keys()

    def note(self, step: str, future: Future[dict[str, Any]]) -> None:
        """A step's thread came to its end, and DBOS has stored how."""
        if future.cancelled() or future.exception() is not None:
            self.elsewhere.add(step)  # cancelled or taken over: the database knows
        else:
            self.ended[step] = Outcome.from_dict(future.result())
        self.wake.set()


@dataclass(frozen=True)
class Walk:
    """One run under way in this process."""

    run: Run
    plan: Plan
    board: Board
    slots: Slots
    reuse: Mapping[str, Mapping[str, Any]]
    started: set[str] = field(default_factory=set[str])

    def advance(self) -> bool:
        """Start what can start now; False when nothing is under way or can come."""
        held_back = False
        ended = dict(self.board.ended)
        for name in self.plan.order:
            if name in self.started or not self.plan.needs[name] <= ended.keys():
                continue
            needs = {need: ended[need] for need in sorted(self.plan.needs[name])}
            if not all(outcome.status in GOOD for outcome in needs.values()):
                continue
            if not self._begin(name, needs):
                held_back = True
        return held_back or len(self.started) > len(ended)

    def _begin(self, name: str, needs: Mapping[str, Outcome]) -> bool:
        task: dict[str, Any]
        if any(outcome.status is RunStatus.SKIPPED for outcome in needs.values()):
            task = {"skip": True}
        elif name in self.reuse:
            task = {"reuse": self.reuse[name]}
        else:
            task = {"outputs": {need: outcome.outputs for need, outcome in needs.items()}}
        identifier = step_id(self.run.id, name)
        working = "outputs" in task
        if working and not self.slots.grant(identifier, self.board.wake):
            return False
        self.started.add(name)
        try:
            future = outside(_start_step, identifier, self.run.id, name, task)
        except BaseException:
            self.slots.withdraw(identifier)
            raise
        if future is None:
            self.slots.withdraw(identifier)
            self.board.elsewhere.add(name)
            self.board.wake.set()
        else:
            # A slot that came to no attempt, because the step wasn't wanted, or its inputs
            # or its row couldn't be had, is free again.
            future.add_done_callback(lambda _: self.slots.withdraw(identifier))
            future.add_done_callback(partial(self.board.note, name))
        return True


def _start_step(
    identifier: str, run_id: str, step: str, task: Mapping[str, Any]
) -> Future[dict[str, Any]] | None:
    """Start a step in this process; None when its row exists, so it was started before."""
    with SetWorkflowID(identifier):
        handle = DBOS.start_workflow(step_workflow, run_id, step, task)
    future = getattr(handle, "future", None)
    return future if isinstance(future, Future) else None


@dataclass(frozen=True)
class Walker:
    """Walks runs. `states` reads runs' states; `on_end` is told how each run ended."""

    load: Callable[[str], tuple[Run, Plan]]
    states: Callable[[Sequence[str]], Mapping[str, RunState]]
    slots: Slots
    registry: Registry
    boards: dict[str, Board]
    on_end: Ended
    executor_id: str

    def walk(self, run_id: str, from_step: str | None) -> dict[str, Any]:
        """The run's workflow. It leaves no history, so a crash anywhere in it only means
        that it is walked again over the steps as they are then."""
        try:
            run, plan = self._load(run_id)
        except VolantError as error:
            return self._end(run_id, plain_error(error))
        board = self.boards[run_id] = Board()
        try:
            walk = Walk(run, plan, board, self.slots, self._reusable(run, plan, from_step))
            while walk.advance():
                self._wait(walk)
        finally:
            if self.boards.get(run_id) is board:  # a resumed walk may have its own by now
                del self.boards[run_id]
        failed = [
            (outcome.ended_ms, name, outcome)
            for name, outcome in board.ended.items()
            if outcome.status not in GOOD
        ]
        if not failed:
            return self._end(run_id, None)
        _, name, outcome = min(failed, key=lambda entry: entry[:2])
        error = dict(outcome.error or {})
        return self._end(run_id, {**error, "details": {**error.get("details", {}), "step": name}})

    def _load(self, run_id: str) -> tuple[Run, Plan]:
        for _ in range(LOAD_ATTEMPTS):
            try:
                return self.load(run_id)
            except Unavailable:
                self.registry.pause(run_id, time.time() + 1)
        return self.load(run_id)

    def _reusable(
        self, run: Run, plan: Plan, from_step: str | None
    ) -> Mapping[str, Mapping[str, Any]]:
        """Outputs that a retry takes over: of steps that succeeded, outside of what is to
        be done again, and only while all that they need is taken over too."""
        if run.retry_of is None:
            return {}
        before = outside(self.states, [run.retry_of]).get(run.retry_of)
        if before is None:
            return {}
        again = plan.downstream(from_step) | {from_step} if from_step else frozenset[str]()
        ended = {step.name: step for step in before.steps}
        kept: dict[str, Mapping[str, Any]] = {}
        settled: set[str] = set()
        for name in plan.order:
            step = ended.get(name)
            if step is None or name in again or not plan.needs[name] <= settled:
                continue
            if step.status is RunStatus.SUCCEEDED:
                kept[name] = step.outputs
                settled.add(name)
            elif step.status is RunStatus.SKIPPED:
                settled.add(name)
        return kept

    def _wait(self, walk: Walk) -> None:
        """Until a step ended or a slot may be free; now and then, look at the database."""
        board = walk.board
        woken = board.wake.wait(LOOK_ELSEWHERE_S if board.missing() else LOOK_S)
        board.wake.clear()
        if self.registry.closing.is_set():
            raise Halt
        if board.look or board.missing() or not woken:
            board.look = False
            self._look(walk)

    def _look(self, walk: Walk) -> None:
        board, run_id = walk.board, walk.run.id
        missing = {step_id(run_id, name): name for name in board.missing()}
        rows = outside(_rows, [run_id, *missing])
        for row in rows:
            if row.workflow_id == run_id:
                if row.status == "CANCELLED":
                    raise DBOSWorkflowCancelledError(f"Run {run_id} is cancelled.")
                if row.status != "PENDING" or row.executor_id != self.executor_id:
                    raise DBOSWorkflowConflictIDError(run_id)
            elif (outcome := outcome_of(row)) is not None:
                board.ended[missing[row.workflow_id]] = outcome

    def _end(self, run_id: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
        status = RunStatus.SUCCEEDED if error is None else RunStatus.FAILED
        self.on_end(run_id, status, error)
        return {"status": status.value, "ended": now_ms(), "error": error}


def _rows(ids: Sequence[str]) -> Sequence[Any]:
    return DBOS.list_workflows(workflow_ids=list(ids), load_input=False)


def outcome_of(row: Any) -> Outcome | None:
    """How a step's workflow ended, from DBOS' row of it; None while it hasn't."""
    if row.status == "SUCCESS":
        return Outcome.from_dict(row.output)
    if row.status in ("PENDING", "ENQUEUED", "DELAYED"):
        return None
    ended = row.completed_at or now_ms()
    started = row.dequeued_at or row.created_at or ended
    if row.status == "CANCELLED":
        error = {"what": "The step was cancelled.", "fix": "Resume the run.", "code": "cancelled"}
        return Outcome(RunStatus.CANCELLED, started, ended, error=_failure(error))
    what = f"The step's workflow ended as {row.status}: {row.error}"
    fix = "Resume the run; if it happens again, this is a defect of Volant."
    error = {"what": what, "fix": fix, "code": "engine_failed"}
    return Outcome(RunStatus.FAILED, started, ended, error=_failure(error))


def _failure(body: Mapping[str, str]) -> dict[str, Any]:
    return {"kind": "step_failed", "details": {}, **body}
