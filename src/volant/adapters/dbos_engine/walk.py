"""A run: start each step when all it needs has ended, until nothing is left to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volant.adapters.dbos_engine.board import Board, Watch, begin
from volant.adapters.dbos_engine.entry import outside
from volant.adapters.dbos_engine.outcome import Outcome, now_ms
from volant.adapters.dbos_engine.plain import plain_error
from volant.adapters.dbos_engine.slots import Slots
from volant.adapters.dbos_engine.work import Registry
from volant.domain.run import Run, RunState, RunStatus
from volant.errors import Unavailable, VolantError
from volant.ports.engine import Plan

LOAD_ATTEMPTS = 60
GOOD = (RunStatus.SUCCEEDED, RunStatus.SKIPPED)

Ended = Callable[[str, RunStatus, Mapping[str, Any] | None], None]


@dataclass(frozen=True)
class Reusable:
    """What a run takes over of the one that it repeats: outputs of steps that succeeded,
    with the run that they are of. Steps in `anew` are done, whatever is known of them; those
    in `partly` may have elements that succeeded in the run `before`."""

    steps: Mapping[str, tuple[Mapping[str, Any], str]] = field(
        default_factory=dict[str, tuple[Mapping[str, Any], str]]
    )
    anew: frozenset[str] = frozenset()
    partly: frozenset[str] = frozenset()
    before: str | None = None

    def task(self, name: str, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the step's workflow is given."""
        if name in self.steps:
            taken, run_id = self.steps[name]
            return {"reuse": taken, "from": run_id}
        task: dict[str, Any] = {"outputs": outputs}
        if name in self.anew:
            task["anew"] = True
        if name in self.partly:
            task["before"] = self.before
        return task


@dataclass(frozen=True)
class Walk:
    """One run under way in this process."""

    run: Run
    plan: Plan
    board: Board
    slots: Slots
    reuse: Reusable
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
        after = self.plan.steps[name].after
        if any(o.status is RunStatus.SKIPPED and n not in after for n, o in needs.items()):
            task = {"skip": True}
        else:
            outputs = {need: outcome.outputs for need, outcome in needs.items()}
            task = self.reuse.task(name, outputs)
        self.started.add(name)
        works = "outputs" in task
        if not begin(self.board, self.slots, self.run.id, name, task, works=works):
            self.started.discard(name)
            return False
        return True


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
            watch = Watch(board, run_id, run_id, self.executor_id, self.registry.closing)
            while walk.advance():
                watch.wait()
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

    def _reusable(self, run: Run, plan: Plan, from_step: str | None) -> Reusable:
        """Outputs that a retry takes over: of steps that succeeded, outside of what is to
        be done again, and only while all that they need is taken over too."""
        if run.retry_of is None:
            return Reusable()
        anew = plan.downstream(from_step) | {from_step} if from_step else frozenset[str]()
        before = outside(self.states, [run.retry_of]).get(run.retry_of)
        if before is None:
            return Reusable(anew=anew)
        ended = {step.name: step for step in before.steps}
        kept: dict[str, tuple[Mapping[str, Any], str]] = {}
        settled: set[str] = set()
        partly: set[str] = set()
        for name in plan.order:
            step = ended.get(name)
            if step is None or name in anew or not plan.needs[name] <= settled:
                continue
            if step.status is RunStatus.SUCCEEDED:
                kept[name] = (step.outputs, step.cached or run.retry_of)
                settled.add(name)
            elif step.status is RunStatus.SKIPPED:
                settled.add(name)
            elif plan.steps[name].foreach is not None:
                partly.add(name)
        return Reusable(kept, anew, frozenset(partly), run.retry_of)

    def _end(self, run_id: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
        status = RunStatus.SUCCEEDED if error is None else RunStatus.FAILED
        self.on_end(run_id, status, error)
        return {"status": status.value, "ended": now_ms(), "error": error}
