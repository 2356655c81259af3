"""A step with `foreach`: each element of its list a workflow of its own, side by side.

As a run has no history of its steps, such a step has none of its elements but how many they
are: after a crash it is walked again over the elements as they are then.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dbos import DBOS

from volant.adapters.dbos_engine.board import Board, Watch, begin, outcome_of, rows_of
from volant.adapters.dbos_engine.outcome import EACH, Outcome, element_name, now_ms, step_id
from volant.adapters.dbos_engine.plain import plain_error, plain_outputs
from volant.adapters.dbos_engine.slots import Slots
from volant.domain.run import Run, RunStatus
from volant.domain.workflow import MAX_ELEMENTS, StepSpec
from volant.errors import InvalidInput, VolantError
from volant.faults import crash_point
from volant.ports.engine import Plan

TOLD = 100  # failed elements that an error names
REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """What a step was given, for its elements: they repeat none of it."""

    outputs: Mapping[str, Mapping[str, Any]]
    items: Sequence[Any]


@dataclass(frozen=True)
class FanOut:
    """Does steps with `foreach`. All of its elements are tried, whichever fail, as a run
    does all steps that need none that failed: what succeeded needn't be repeated."""

    slots: Slots
    boards: dict[str, Board]
    executor_id: str
    closing: threading.Event
    _lists: OrderedDict[str, Listed] = field(default_factory=OrderedDict[str, Listed])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(
        self, run: Run, spec: StepSpec, items: Sequence[Any], task: Mapping[str, Any]
    ) -> Outcome:
        """The step's workflow."""
        began, step = now_ms(), spec.name
        name = step_id(run.id, step)
        self.slots.withdraw(name)  # its elements work, not the step
        try:
            _check_count(step, items)
            if not items:
                outputs = {output: [] for output in spec.outputs}
                elements = {"total": 0, "ended": 0, "failed": 0}
                return Outcome(
                    RunStatus.SUCCEEDED, began, now_ms(), outputs=outputs, elements=elements
                )
        except VolantError as error:
            return Outcome(RunStatus.FAILED, began, now_ms(), error=plain_error(error))
        self._remember(name, Listed(task["outputs"], items))
        DBOS.run_step({"name": EACH}, _count, len(items))
        crash_point("foreach.begun")
        board = self.boards[name] = Board()
        try:
            self._walk(run.id, step, len(items), task, board)
        finally:
            if self.boards.get(name) is board:
                del self.boards[name]
        crash_point("foreach.ended")
        ended = [board.ended[element_name(step, index)] for index in range(len(items))]
        return _together(step, ended)

    def element(self, run_id: str, plan: Plan, name: str, task: Mapping[str, Any]) -> StepSpec:
        """One element of a step, as a step of its own. Raises `InvalidInput`."""
        step = task["of"]
        with self._lock:
            known = self._lists.get(step_id(run_id, step))
        if known is None:  # its step, in a life before this one, or in another worker
            row = rows_of([step_id(run_id, step)], inputs=True)[0]
            outputs = row.input["args"][2]["outputs"]
            known = Listed(outputs, plan.items(step, outputs) or ())
            self._remember(row.workflow_id, known)
        spec = plan.rendered(step, known.outputs, known.items[task["element"]])
        return replace(spec, name=name)

    def _remember(self, name: str, known: Listed) -> None:
        with self._lock:
            self._lists[name] = known
            self._lists.move_to_end(name)
            while len(self._lists) > REMEMBERED:
                self._lists.popitem(last=False)

    def _walk(
        self, run_id: str, step: str, count: int, task: Mapping[str, Any], board: Board
    ) -> None:
        watch = Watch(board, run_id, step_id(run_id, step), self.executor_id, self.closing)
        names = [element_name(step, index) for index in range(count)]
        # What a life before this one ended, in few queries instead of one for each.
        board.ended.update(_ended(run_id, names))
        given = _tasks(step, names, task)
        waiting = deque(name for name in names if name not in board.ended)
        while len(board.ended) < count:
            # Those that are taken over need a slot too: a thousand at once are too many.
            while waiting and begin(
                board, self.slots, run_id, waiting[0], given[waiting[0]], works=True
            ):
                waiting.popleft()
            if len(board.ended) < count:
                watch.wait()


def _tasks(
    step: str, names: Sequence[str], task: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    """What each element's workflow is given: little, for a list may be long."""
    before = task.get("before")
    taken = {} if before is None else _succeeded(before, names)
    more = {"anew": True} if task.get("anew") else {}
    return {
        name: {"reuse": taken[name].outputs, "from": taken[name].cached or before}
        if name in taken
        else {"of": step, "element": index, **more}
        for index, name in enumerate(names)
    }


def _count(count: int) -> dict[str, int]:
    return {"count": count}


def _check_count(step: str, items: Sequence[Any]) -> None:
    if len(items) > MAX_ELEMENTS:
        raise InvalidInput(
            f"Step {step!r} would be done for each of {len(items):,} elements.",
            f"Give `foreach` at most {MAX_ELEMENTS:,}: let each element be a batch of several.",
            code="too_many_elements",
            details={"step": step, "elements": len(items)},
        )


def _ended(run_id: str, names: Sequence[str]) -> dict[str, Outcome]:
    known = {step_id(run_id, name): name for name in names}
    found = {known[row.workflow_id]: outcome_of(row) for row in rows_of(list(known))}
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def _succeeded(run_id: str, names: Sequence[str]) -> dict[str, Outcome]:
    ended = _ended(run_id, names)
    return {name: o for name, o in ended.items() if o.status is RunStatus.SUCCEEDED}


def _together(step: str, ended: Sequence[Outcome]) -> Outcome:
    """The elements' outcomes as one: a list for each output, in the elements' order, None
    where an element has no such output."""
    failed = [i for i, outcome in enumerate(ended) if outcome.status is not RunStatus.SUCCEEDED]
    elements = {"total": len(ended), "ended": len(ended), "failed": len(failed)}
    attempt = max(outcome.attempt for outcome in ended)
    error: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] = {}
    if failed:
        error = _failure(step, failed, ended)
    else:
        names = dict.fromkeys(name for outcome in ended for name in outcome.outputs)
        lists = {name: [outcome.outputs.get(name) for outcome in ended] for name in names}
        try:
            outputs = plain_outputs(lists, step)
        except VolantError as too_much:
            error = plain_error(too_much)
    sources = {outcome.cached for outcome in ended}
    return Outcome(
        RunStatus.SUCCEEDED if error is None else RunStatus.FAILED,
        min(outcome.started_ms for outcome in ended),
        now_ms(),
        attempt,
        outputs,
        error,
        cached=None if None in sources else min(str(source) for source in sources),
        elements=elements,
    )


def _failure(step: str, failed: Sequence[int], ended: Sequence[Outcome]) -> dict[str, Any]:
    """The error of the element that failed first, and which others did."""
    first = min(failed, key=lambda index: (ended[index].ended_ms, index))
    error = dict(ended[first].error or {})
    many = f"{len(failed)} of {len(ended)} elements failed, first" if len(failed) > 1 else "Element"
    return {
        **error,
        "what": f"{many} {element_name(step, first)}: {error.get('what', 'it was cancelled.')}",
        "details": {**error.get("details", {}), "element": first, "failed": failed[:TOLD]},
    }
