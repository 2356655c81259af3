"""Runs of the plain platform: each look at one finishes one of its three steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from volant.domain.run import Run, RunState, RunStatus, StepState
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, NotFound

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def missing(noun, name):
    return NotFound(f"There is no {noun} {name!r}.", "See the list for the names.")


class PlainRuns:
    """Each run has three steps; looking at it finishes one of them."""

    def __init__(self):
        self.progress = {}
        self.outputs = {}
        self.facts = {}
        self.failing = set()
        self.refusing = set()
        self.cancelled = set()

    def add(self, run_id, loop="wine-quality", outputs=None, **facts):
        self.outputs[run_id] = outputs or {}
        steps = tuple(
            StepSpec(name, uses=name, needs=needs)
            for name, needs in (("split", ()), ("train", ("split",)), ("evaluate", ("train",)))
        )
        run = Run(run_id, WorkflowSpec(f"loop/{loop}", steps), NOW, loop=loop, **facts)
        self.facts[run_id] = run
        self.progress[run_id] = 0
        return run

    def get(self, run_id):
        try:
            run = self.facts[run_id]
        except KeyError:
            raise missing("run", run_id) from None
        self.progress[run_id] = min(self.progress[run_id] + 1, 3)
        return run, self._state(run_id)

    def _state(self, run_id):
        done = self.progress[run_id]
        failed = run_id in self.failing and done >= 2
        steps = []
        for place, spec in enumerate(self.facts[run_id].workflow.steps):
            status = RunStatus.SUCCEEDED if place < done else RunStatus.RUNNING
            if place > done or run_id in self.cancelled:
                status = RunStatus.QUEUED
            outputs = self.outputs[run_id] if place == 0 else {}
            error = None
            if failed and place == 1:
                status = RunStatus.FAILED
                error = {"what": "ValueError: no such column", "fix": "Mend train.py."}
            if failed and place == 2:
                status = RunStatus.SKIPPED
            if spec.name == "evaluate" and status is RunStatus.SUCCEEDED:
                outputs = {"passed": run_id not in self.refusing, "reason": "rmse 0.9 > 0.75"}
            steps.append(
                StepState(
                    spec.name,
                    status,
                    attempt=1,
                    started_at=NOW if status is not RunStatus.QUEUED else None,
                    ended_at=NOW + timedelta(seconds=2 + place)
                    if status in (RunStatus.SUCCEEDED, RunStatus.FAILED)
                    else None,
                    outputs=outputs,
                    error=error,
                )
            )
        status = RunStatus.SUCCEEDED if done >= 3 else RunStatus.RUNNING
        if failed:
            status = RunStatus.FAILED
        if run_id in self.cancelled:
            status = RunStatus.CANCELLED
        ended = NOW + timedelta(seconds=9) if status is not RunStatus.RUNNING else None
        error = {"what": "step train failed", "fix": "See its log."} if failed else None
        return RunState(run_id, status, tuple(steps), NOW, ended, error)

    def page(self, limit, before, loop):
        ids = [i for i, r in self.facts.items() if loop is None or r.loop == loop]
        return [(self.facts[i], self._state(i)) for i in reversed(ids)][:limit], None

    def cancel(self, run_id):
        self.get(run_id)
        if run_id in self.cancelled or self.progress[run_id] >= 3:
            raise Conflict(f"Run {run_id} has ended.", "Start another with `volant run`.")
        self.cancelled.add(run_id)

    def resume(self, run_id):
        self.get(run_id)
        self.cancelled.discard(run_id)

    def retry(self, run_id, from_step):
        self.get(run_id)
        return self.add(f"{run_id}-again", retry_of=run_id)

    def logs(self, run_id, step, after):
        self.get(run_id)
        sent = int(after or 0)
        every = [
            {"step": name, "time": NOW.isoformat(), "stream": stream, "text": text}
            for name, stream, text in (
                ("split", "stdout", "80 rows to train on"),
                ("train", "stderr", "[red]not markup[/red]"),
                ("train", "stdout", "done"),
            )
            if step in (None, name)
        ]
        following = min(sent + 1, len(every))
        return {
            "lines": every[sent:following],
            "after": str(following),
            "done": following == len(every),
        }
