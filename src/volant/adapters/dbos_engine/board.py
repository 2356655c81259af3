"""How whoever starts steps, a run or a step with `foreach`, learns of their ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dbos import DBOS, SetWorkflowID
from dbos._error import DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError

from volant.adapters.dbos_engine.database import Halt
from volant.adapters.dbos_engine.entry import Fresh, outside, step_workflow
from volant.adapters.dbos_engine.outcome import Outcome, now_ms, step_id
from volant.adapters.dbos_engine.slots import Slots
from volant.domain.run import RunStatus

LOOK_S = 1.0  # how often a run looks whether it is still wanted
LOOK_ELSEWHERE_S = 0.05  # the same while a step of it ends out of our sight
CHUNK = 500  # identifiers a query, well under every database's limit of parameters


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


def begin(
    board: Board, slots: Slots, run_id: str, name: str, task: Mapping[str, Any], *, works: bool
) -> bool:
    """Start a step of a run; False when it `works` and no slot is free: then the board is
    woken when one may be."""
    identifier = step_id(run_id, name)
    if works and not slots.grant(identifier, board.wake):
        return False
    try:
        future = outside(_start_step, identifier, run_id, name, task)
    except BaseException:
        slots.withdraw(identifier)
        raise
    if future is None:
        slots.withdraw(identifier)
        board.elsewhere.add(name)
        board.wake.set()
    else:
        # A slot that came to no attempt, because the step wasn't wanted, or its inputs
        # or its row couldn't be had, is free again.
        future.add_done_callback(lambda _: slots.withdraw(identifier))
        future.add_done_callback(partial(board.note, name))
    return True


def _start_step(
    identifier: str, run_id: str, step: str, task: Mapping[str, Any]
) -> Future[dict[str, Any]] | None:
    """Start a step in this process; None when its row exists, so it was started before."""
    with SetWorkflowID(identifier):
        handle = DBOS.start_workflow(step_workflow, run_id, step, Fresh(task))
    future = getattr(handle, "future", None)
    return future if isinstance(future, Future) else None


@dataclass(frozen=True)
class Watch:
    """Waits at a board on behalf of one workflow: a run, or a step of it."""

    board: Board
    run_id: str
    own_id: str
    executor_id: str
    closing: threading.Event

    def wait(self) -> None:
        """Until a step ended or a slot may be free; now and then, look at the database.

        Raises `Halt` when the engine closes, DBOS' errors when the run was cancelled or
        another worker has it.
        """
        board = self.board
        woken = board.wake.wait(LOOK_ELSEWHERE_S if board.missing() else LOOK_S)
        board.wake.clear()
        if self.closing.is_set():
            raise Halt
        if board.look or board.missing() or not woken:
            board.look = False
            self._look()

    def _look(self) -> None:
        missing = {step_id(self.run_id, name): name for name in self.board.missing()}
        for row in rows_of([*{self.run_id, self.own_id}, *missing]):
            if row.workflow_id in missing:
                if (outcome := outcome_of(row)) is not None:
                    self.board.ended[missing[row.workflow_id]] = outcome
            elif row.status == "CANCELLED":
                if row.workflow_id != self.own_id:
                    outside(DBOS.cancel_workflow, self.own_id)
                raise DBOSWorkflowCancelledError(f"Run {self.run_id} is cancelled.")
            elif row.workflow_id == self.own_id and (
                row.status != "PENDING" or row.executor_id != self.executor_id
            ):
                raise DBOSWorkflowConflictIDError(self.own_id)


def rows_of(ids: Sequence[str], *, inputs: bool = False) -> list[Any]:
    """DBOS' rows of those workflows that exist, with their outputs."""
    rows: list[Any] = []
    for start in range(0, len(ids), CHUNK):
        chunk = list(ids[start : start + CHUNK])
        rows += outside(_list, chunk, inputs)
    return rows


def _list(ids: list[str], inputs: bool) -> Sequence[Any]:
    return DBOS.list_workflows(workflow_ids=ids, load_input=inputs)


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
