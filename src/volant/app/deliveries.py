"""Predictions on their way into a dataset: a batch's step ends with its push's verdict."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from volant.app.step_rooms import Outputs, Rooms
from volant.domain.dataset import Push, PushStatus, run_id_of
from volant.domain.run import TERMINAL, RunState, RunStatus, StepRequest
from volant.durable import write_whole
from volant.errors import Conflict, NotFound, StepFailed

_LOOK_S = 0.2  # times how many wait: all of them ask the one store
_LONGEST_LOOK_S = 1.0
_RUNS_EVERY = 5  # looks at the push; runs cost more to look at
_PATIENCE_S = 60.0
_PAGE = 200  # pushes
_NOTE = "push.json"  # in the step's folder: which push it is, and the how manyth


class Deliveries:
    """Waits in the step's commit, which holds none of the places for steps at work.

    The run keeps its own place meanwhile, and the push's run needs one: where such steps of
    workflows have taken them all, each would wait for ever (`Batches` leaves some free). So
    one that doesn't see its push begin, while nothing else is taken into the dataset either,
    gives up, the longest waiting one first, and goes on when its run is resumed.

    Args:
    pause, now: As `time.sleep` and `time.monotonic`.
    """

    def __init__(
        self,
        rooms: Rooms,
        pause: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rooms = rooms
        self._pause = pause
        self._now = now
        self._waiting = 0
        self._lock = threading.Lock()

    def deliver(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """`outputs`, with `push`, `dataset_version`, `rows_added` and `rows_quarantined`: None
        and no rows where no dataset gets predictions. Doing it again delivers them once.

        Raises `StepFailed` when the dataset refused them, or when the push didn't begin for
        long, and `Conflict` when the run was cancelled.
        """
        if outputs["dataset"] is None or not outputs["predicted"]:
            return {**outputs, **_told(None)}
        push = self._pushed(request, outputs)
        push = self._judged(request, push)
        if push.status is PushStatus.REJECTED:
            raise StepFailed(
                f"The dataset {push.dataset} refused the predictions: {push.reason}",
                "Change its contract, then resume the run; or give another output.",
                code="batch_push_rejected",
                details={"push": push.id},
            )
        return {**outputs, **_told(push)}

    def _pushed(self, request: StepRequest, outputs: Outputs) -> Push:
        """The push, made once; a new one where the last was refused and someone tries again."""
        noted = request.workdir / _NOTE
        number = 1
        try:
            told: dict[str, Any] = json.loads(noted.read_text())
            found = self._rooms.store.pushes.get(told["push"])
            if found.status is not PushStatus.REJECTED:
                return found
            number = int(told["number"]) + 1
        except (FileNotFoundError, NotFound):
            pass
        key = f"{request.run_id}:{request.step.name}" + (f":{number}" if number > 1 else "")
        push = self._rooms.deliver(str(outputs["dataset"]), Path(str(outputs["file"])), key)
        request.workdir.mkdir(parents=True, exist_ok=True)
        write_whole(noted, json.dumps({"push": push.id, "number": number}))
        return push

    def _judged(self, request: StepRequest, push: Push) -> Push:
        """The push once it has its verdict."""
        with self._lock:
            self._waiting += 1
            patience = _PATIENCE_S * self._waiting
        try:
            return self._awaited(request, push, patience)
        finally:
            with self._lock:
                self._waiting -= 1

    def _awaited(self, request: StepRequest, push: Push, patience: float) -> Push:
        since, looks = self._now(), 0
        while push.status is PushStatus.RECEIVED:
            if looks % _RUNS_EVERY == 0:
                state = self._state_of(push)
                self._check(request, push, state)
                waited = self._now() - since
                began = state is not None and state.status is not RunStatus.QUEUED
                # Asked several times: one look may fall between two of the dataset's runs.
                if began or (waited >= patience / 2 and self._others_at_work(push)):
                    since = self._now()
                elif waited >= patience:
                    raise _stuck(push)
            looks += 1
            self._pause(min(_LOOK_S * self._waiting, _LONGEST_LOOK_S))
            push = self._rooms.store.pushes.get(push.id)
        return push

    def _others_at_work(self, push: Push) -> bool:
        """Whether the run of another push to the dataset is at work: they go one by one."""
        others: list[Push] = []
        before: str | None = None
        while True:
            page, before = self._rooms.store.pushes.page(push.dataset, _PAGE, before)
            others += [p for p in page if p.status is PushStatus.RECEIVED and p.id != push.id]
            if before is None:
                break
        states = (self._state_of(each) for each in reversed(others))  # it is one of the oldest
        return any(state is not None and state.status is RunStatus.RUNNING for state in states)

    def _state_of(self, push: Push) -> RunState | None:
        """How the push's run stands; None while it isn't stored."""
        try:
            return self._rooms.desks.runs.get(push.run_id or run_id_of(push.id))[1]
        except NotFound:
            return None

    def _check(self, request: StepRequest, push: Push, state: RunState | None) -> None:
        """Raises when there is nothing to wait for."""
        _, own = self._rooms.desks.runs.get(request.run_id)
        if own.status in TERMINAL:
            raise Conflict(
                f"The run {request.run_id} is {own.status.value}.", "Resume it.", code="cancelled"
            )
        if state is None or state.status not in TERMINAL:
            return
        if self._rooms.store.pushes.get(push.id).status is not PushStatus.RECEIVED:
            return  # it had its verdict meanwhile
        reason = str((state.error or {}).get("what") or f"It is {state.status.value}.")
        raise StepFailed(
            f"The run {state.run_id} that takes the predictions into {push.dataset} ended without"
            f" a verdict: {reason}",
            f"Resume it (volant runs resume {state.run_id}), then this run.",
            code="batch_push_failed",
            details={"push": push.id, "run": state.run_id},
        )


def _told(push: Push | None) -> Outputs:
    return {
        "push": push and push.id,
        "dataset_version": push and push.version,
        "rows_added": push.rows_added if push else 0,
        "rows_quarantined": push.rows_quarantined if push else 0,
    }


def _stuck(push: Push) -> StepFailed:
    return StepFailed(
        f"The predictions wait to be taken into {push.dataset}, and other runs have every place.",
        f"Resume this run when they have ended; see: volant runs show {run_id_of(push.id)}",
        code="batch_push_waits",
        details={"push": push.id},
    )
