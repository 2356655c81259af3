"""One step: resolve its inputs, perform with retries, commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbos import DBOS, StepOptions
from dbos._error import DBOSWorkflowCancelledError

from volant.adapters.dbos_engine.database import Halt, Tables
from volant.adapters.dbos_engine.entry import Fresh, outside
from volant.adapters.dbos_engine.fanout import FanOut
from volant.adapters.dbos_engine.outcome import Outcome, now_ms, step_id
from volant.adapters.dbos_engine.plain import plain_error, plain_outputs
from volant.adapters.dbos_engine.slots import Slots
from volant.domain.run import Run, RunStatus, StepRequest, StepSpecRef
from volant.domain.workflow import StepSpec
from volant.errors import InvalidInput, StepFailed, Unavailable, VolantError
from volant.faults import crash_point
from volant.ports.engine import Plan, StepExecutor
from volant.ports.step_cache import Reuse

MAX_BACKOFF_S = 300.0
MAX_LOSSES = 8  # within half a minute; what loses a step this often will lose it again
MAX_PREEMPTIONS = 200  # in all, of a step that comes a checkpoint further each time
COMMIT_ATTEMPTS = 6  # 6 s in all, for a database that is locked or restarting
# What took less, at the first attempt, is sooner done again after a crash than recorded.
RECORDED_MS = 250


class Registry:
    """Which steps are at work in this process, and which runs were cancelled here."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.busy = threading.Event()  # set while any step is at work
        self._cancelled: set[str] = set()
        self._at_work: dict[str, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self, step: str, run_id: str) -> Generator[None]:
        with self._lock:
            self._at_work[step] = run_id
            self.busy.set()
        try:
            yield
        finally:
            with self._lock:
                del self._at_work[step]
                if not self._at_work:
                    self.busy.clear()

    def snapshot(self) -> Mapping[str, str]:
        """Run by step identifier."""
        with self._lock:
            return dict(self._at_work)

    def cancel(self, run_id: str) -> None:
        self._cancelled.add(run_id)

    def check(self, run_id: str) -> None:
        """Raises when the run was cancelled in this process."""
        if run_id in self._cancelled:
            raise DBOSWorkflowCancelledError(f"Run {run_id} is cancelled.")

    def revive(self, run_id: str) -> None:
        self._cancelled.discard(run_id)

    def pause(self, run_id: str, until: float) -> None:
        """Sleep until a Unix time; ends early, by raising, when closed or cancelled."""
        while (left := until - time.time()) > 0:
            if self.closing.wait(min(left, 0.5)):
                raise Halt
            self.check(run_id)


@dataclass(frozen=True)
class StepWorker:
    """Does steps; `load` gives a run's facts and its plan. `reuse` must raise nothing."""

    executor: StepExecutor
    load: Callable[[str], tuple[Run, Plan]]
    tables: Tables
    slots: Slots
    registry: Registry
    runs_dir: Path
    fan_out: FanOut
    reuse: Reuse | None = None
    timeout_grace_s: float = 30.0

    def work(self, run_id: str, step: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """The step's workflow: everything that happens twice after a crash is idempotent."""
        if "skip" in task or "reuse" in task:
            return _settled(task).to_dict()
        began = now_ms()
        try:
            run, plan = self.load(run_id)
            items = None
            if "of" in task:
                spec = self.fan_out.element(run_id, plan, step, task)
            elif not plan.wanted(step, task["outputs"]):
                return Outcome(RunStatus.SKIPPED, began, now_ms()).to_dict()
            else:
                outputs = task["outputs"]
                items = plan.items(step, outputs)
                spec = plan.rendered(step, outputs) if items is None else plan.steps[step]
        except VolantError as error:
            outcome = Outcome(RunStatus.FAILED, began, now_ms(), error=plain_error(error))
            return outcome.to_dict()
        if items is not None:
            return self.fan_out.work(run, spec, items, task).to_dict()
        fresh = isinstance(task, Fresh)
        return self._do(run, spec, anew=bool(task.get("anew")), fresh=fresh).to_dict()

    def _do(self, run: Run, spec: StepSpec, *, anew: bool, fresh: bool) -> Outcome:
        """The outputs of another step that did the same, or the step's own."""
        key = None
        if spec.cache and self.reuse is not None:
            began, request = now_ms(), self._request(run, spec, 1)
            key = self.reuse.key(request)
            found = None if anew or key is None else self.reuse.find(key, request)
            if found is not None:
                own = (found.run_id, found.step) == (run.id, spec.name)  # told, then killed
                return Outcome(
                    RunStatus.SUCCEEDED,
                    began,
                    now_ms(),
                    attempt=int(own),
                    outputs=found.outputs,
                    cached=None if own else found.run_id,
                )
        outcome = self._perform_and_commit(run, spec, fresh=fresh)
        if key is not None and self.reuse is not None and outcome.status is RunStatus.SUCCEEDED:
            crash_point("cache.committed")
            request = self._request(run, spec, outcome.attempt)
            self.reuse.keep(key, request, outcome.outputs, anew=anew)
            crash_point("cache.stored")
        return outcome

    def _check_wanted(self, run_id: str, step: str) -> None:
        """No effect of a cancelled run is stored. A cancellation in the moment before this
        step's row was written didn't see the row, so the run's own row counts too."""
        status = self.tables.statuses([run_id, step])
        if status.get(run_id, ("",))[0] == "CANCELLED":
            outside(DBOS.cancel_workflow, step)
        elif status.get(step, ("",))[0] != "CANCELLED":
            return
        raise DBOSWorkflowCancelledError(f"Run {run_id} is cancelled.")

    def _perform_and_commit(self, run: Run, spec: StepSpec, *, fresh: bool) -> Outcome:
        failures = losses = lost = attempt = 0
        started = 0
        while True:
            attempt += 1
            request = self._request(run, spec, attempt)
            if fresh and attempt == 1:
                record = self._attempt(request)
                recorded = "error" in record or record["ended"] - record["started"] >= RECORDED_MS
                if recorded:
                    _keep(request, record)
            else:
                record, recorded = DBOS.run_step(_named(request), self._attempt, request), True
            started = started or record["started"]
            error = record.get("error")
            if error is None:
                return self._commit(request, record, started, recorded=recorded)
            if error["details"].get("lost") is True:
                lost += 1
                losses = 1 if error["details"].get("progress") else losses + 1
                again = losses <= MAX_LOSSES and lost <= MAX_PREEMPTIONS
                delay = min(0.1 * 2 ** (losses - 1), 30.0)
            else:
                failures += 1
                # The same input can't be used the second time either.
                again = failures <= spec.retries and error["kind"] != InvalidInput.code
                delay = min(spec.backoff_s * 2 ** min(failures - 1, 20), MAX_BACKOFF_S)
            if not again:
                if losses > MAX_LOSSES:
                    error = _lost_for_good(error, run.id, f"{losses} times in a row")
                elif lost > MAX_PREEMPTIONS:
                    error = _lost_for_good(error, run.id, f"{lost} times")
                return Outcome(RunStatus.FAILED, started, record["ended"], attempt, error=error)
            self.registry.pause(run.id, record["ended"] / 1000 + delay)

    def _request(self, run: Run, spec: StepSpec, attempt: int) -> StepRequest:
        reference = StepSpecRef(
            name=spec.name,
            uses=spec.uses,
            call=spec.call,
            run=spec.run,
            timeout_s=spec.timeout_s,
            memory_bytes=spec.memory_bytes,
            env=spec.env,
            image=spec.image,
            cpu=spec.cpu,
            outputs=spec.outputs,
            extensions=spec.extensions,
        )
        return StepRequest(
            run_id=run.id,
            step=reference,
            inputs=spec.inputs,
            attempt=attempt,
            workdir=self.runs_dir / run.id / spec.name,
            loop=run.loop,
            workflow=run.workflow.name,
            version=run.workflow.version,
            project=run.project,
            started_by=run.started_by,
        )

    def _attempt(self, request: StepRequest) -> dict[str, Any]:
        """One attempt; its outcome, good or bad, becomes a durable record."""
        name = step_id(request.run_id, request.step.name)
        with self.slots.hold(name), self.registry.at_work(name, request.run_id):
            self.registry.check(request.run_id)
            started = now_ms()
            record: dict[str, Any]
            try:
                request.workdir.mkdir(parents=True, exist_ok=True)
                outputs = self._within_time(request)
                record = {"outputs": plain_outputs(outputs, request.step.name)}
            except Exception as error:  # any failure is a fact to record
                if self.registry.closing.is_set():
                    # The platform took the step's process away; that isn't its failure.
                    raise Halt from error
                record = {"error": plain_error(error)}
        return {**record, "started": started, "ended": now_ms()}

    def _within_time(self, request: StepRequest) -> Mapping[str, Any]:
        """Perform; give up waiting some time after the step's own timeout.

        Compute ends a job at its timeout. This guard is for what compute doesn't run, or
        fails to end: the thread is left behind, the step fails.
        """
        limit = request.step.timeout_s
        if limit is None:
            return self.executor.perform(request)
        answer: list[Mapping[str, Any] | BaseException] = []

        def perform() -> None:
            try:
                answer.append(self.executor.perform(request))
            except BaseException as error:  # handed to the waiting thread
                answer.append(error)

        thread = threading.Thread(target=perform, name="volant-step", daemon=True)
        thread.start()
        thread.join(limit + self.timeout_grace_s)
        if not answer:
            raise StepFailed(
                f"Step {request.step.name!r} didn't end within {limit:g} s, nor"
                f" {self.timeout_grace_s:g} s after it was told to.",
                "Give it a longer timeout, or find out what it waits for in its log.",
                details={"status": "timeout", "timeout_s": limit},
            )
        result = answer[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def _commit(
        self, request: StepRequest, record: Mapping[str, Any], started: int, *, recorded: bool
    ) -> Outcome:
        """Store the effects. The record of a commit is the step's own outcome: a record
        before that one couldn't close the gap between effect and record either."""
        name = step_id(request.run_id, request.step.name)
        self._check_wanted(request.run_id, name)
        error: BaseException | None = None
        for tried in range(1, COMMIT_ATTEMPTS + 1):
            try:
                outputs = self.executor.commit(request, record["outputs"])
                final = plain_outputs(outputs, request.step.name)
                return Outcome(RunStatus.SUCCEEDED, started, now_ms(), request.attempt, final)
            except Exception as failure:  # any failure is a fact to record
                error = failure
            if not recorded:  # whoever resumes the run keeps the work
                _keep(request, record)
                recorded = True
            if not isinstance(error, Unavailable):
                break
            self.registry.pause(request.run_id, time.time() + 0.1 * 2**tried)
        if self.registry.closing.is_set():
            raise Halt
        return Outcome(
            RunStatus.FAILED,
            started,
            now_ms(),
            request.attempt,
            error=plain_error(error) if error else None,
            performed=True,
        )


def _named(request: StepRequest) -> StepOptions:
    return {"name": f"perform:{request.attempt}"}


def _keep(request: StepRequest, record: Mapping[str, Any]) -> None:
    """Record an attempt that is over."""
    DBOS.run_step(_named(request), lambda: record)


def _lost_for_good(error: Mapping[str, Any], run_id: str, often: str) -> dict[str, Any]:
    """The last loss, told as what it is after so many."""
    return {
        **error,
        "what": f"{error['what']} That happened {often}.",
        "fix": "Find out what ends it: its own code, or the machine for want of memory."
        f" Then: volant runs retry {run_id}",
    }


def _settled(task: Mapping[str, Any]) -> Outcome:
    """A step that there is nothing to do of."""
    now = now_ms()
    if "skip" in task:
        return Outcome(RunStatus.SKIPPED, now, now)
    return Outcome(RunStatus.SUCCEEDED, now, now, outputs=task["reuse"], cached=task.get("from"))
