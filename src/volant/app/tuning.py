"""A search for a training function's parameters: its trials side by side on compute.

The trials' own records decide what is left to do, so that a search goes on where it was
when anything of it died: trials that ended stay, those under way are done again with the
parameters that they had, under their own folder with its checkpoints.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volant.app.jobs import error_of
from volant.domain.codec import from_plain
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.job import Job, JobStatus
from volant.domain.loop import TuneSpec
from volant.domain.run import StepRequest
from volant.domain.tracking import Metric
from volant.errors import InvalidInput, StepFailed, VolantError
from volant.faults import crash_point
from volant.ports.compute import Compute
from volant.tracking.searches import SearchDesk, SearchFacts, TrialFacts
from volant.training.objective import Objective, objective_of
from volant.training.search_space import grid_size
from volant.training.trial_records import (
    COMPLETE,
    FAILED,
    PRUNED,
    RUNNING,
    STATES,
    Records,
    Trial,
    best_of,
)

_LOOK_S = 0.5  # how old what is tracked may be
_MOST_TIMES = 3  # a trial whose process was lost so often has failed
_FRUITLESS = 3  # so many failures without a success: the function is broken
_FRUIT = frozenset({COMPLETE, PRUNED})

Outputs = Mapping[str, Any]

log = logging.getLogger(__name__)


class Searches:
    """The searches that are under way here."""

    def __init__(self, compute: Compute, desk: SearchDesk) -> None:
        self._compute = compute
        self._desk = desk
        self._active: dict[str, Search] = {}

    def perform(self, request: StepRequest, tags: Mapping[str, str]) -> Outputs:
        """Search to the end. Raises what makes it senseless, and `StepFailed` when no trial
        was completed."""
        search = Search(self._compute, self._desk, request, tags)
        self._active[request.run_id] = search
        try:
            return search.run()
        finally:
            del self._active[request.run_id]

    def commit(self, request: StepRequest) -> None:
        """Its tracked run has ended."""
        self._desk.end(request.run_id, datetime.now(UTC))

    def cancel(self, run_id: str) -> None:
        """Begin no trial of this run any more; compute ends those under way."""
        search = self._active.get(run_id)
        if search is not None:
            search.cancelled = True


class Search:
    """One search of one step."""

    def __init__(
        self, compute: Compute, desk: SearchDesk, request: StepRequest, tags: Mapping[str, str]
    ) -> None:
        inputs = request.inputs
        self.cancelled = False
        self._compute = compute
        self._request = request
        self._spec = from_plain(TuneSpec, inputs["tune"])
        self._objective = objective_of(self._spec, inputs.get("metric"), str(inputs["task"]))
        self._records = Records(request.workdir / "trials")
        self._mirror = Mirror(desk, request, self._spec, self._objective, tags)
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)  # a trial did
        self._idle = threading.Event()
        self._busy = 0  # workers that have a trial
        self._working = 0
        self._error: VolantError | None = None
        self._left: list[int] = []
        self._deadline: float | None = None

    def run(self) -> Outputs:
        """Every trial, `parallel` at a time."""
        self._plan()
        self._working = min(self._spec.parallel, len(self._left))
        for place in range(self._working):
            name = f"volant-trial-{place}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        while self._working and not self._idle.wait(_LOOK_S):
            self._mirror.follow(self._records.all())
            if self.cancelled:
                self._compute.cancel(self._request.run_id)
        trials = self._records.all()
        self._mirror.follow(trials)
        try:
            if self._error is not None:
                raise self._error
            answer = self._answer(trials)
        except VolantError as error:
            if error.details.get("lost") is not True:  # else it goes on
                self._mirror.stopped(cancelled=self.cancelled)
            raise
        crash_point("tune.searched")
        return answer

    def _plan(self) -> None:
        """What is left to do: trials that were under way first."""
        spec, known = self._spec, {trial.number: trial for trial in self._records.all()}
        total = spec.trials
        if spec.sampler == "grid":
            total = min(total, grid_size(spec.space))
        ended = {number for number, trial in known.items() if trial.ended is not None}
        begun = sorted(set(known) - ended)
        self._left = [*begun, *(n for n in range(total) if n not in known)]
        if spec.timeout_s is not None:
            first = min((t.started for t in known.values() if t.started), default=0)
            used = (max((t.seen for t in known.values()), default=0) - first) / 1000
            self._deadline = time.monotonic() + spec.timeout_s - used

    def _work(self) -> None:
        try:
            self._trials()
        finally:
            with self._lock:
                self._working -= 1
                if not self._working:
                    self._idle.set()

    def _trials(self) -> None:
        while (number := self._next()) is not None:
            try:
                self._trial(number)
            except VolantError as error:
                self._error = self._error or error
            except Exception as error:  # a defect must not leave the step waiting
                log.exception("trial %s", number)
                what = f"Trial {number} met {type(error).__name__}: {error}"
                self._error = self._error or StepFailed(what, "See the server's log.")
            finally:
                with self._ended:
                    self._busy -= 1
                    self._ended.notify_all()

    def _next(self) -> int | None:
        """The number of the next trial; None: no more. Where nothing but failures is known,
        trials that were begun already decide first whether the function is broken."""
        with self._ended:
            while not self._over():
                trials = self._records.all()
                begun = {trial.number for trial in trials if trial.state == RUNNING}
                if not _doubtful(trials) or self._left[0] in begun:
                    self._busy += 1
                    return self._left.pop(0)
                if not self._busy:
                    self._error = _fruitless(trials)
                    return None
                self._ended.wait()
            return None

    def _over(self) -> bool:
        """No trial is to begin any more."""
        if self.cancelled or self._error is not None or not self._left:
            return True
        return self._time_left() <= 0

    def _time_left(self) -> float:
        return 1e9 if self._deadline is None else self._deadline - time.monotonic()

    def _trial(self, number: int) -> None:
        begun = self._records.get(number).begun
        if begun >= _MOST_TIMES:
            self._records.end(number, FAILED, error=f"Its process was lost {begun} times.")
            return
        job = self._job(number, begun + 1)
        result = self._compute.run(job)
        if result.status is JobStatus.SUCCEEDED:
            shutil.rmtree(job.workdir / "checkpoint", ignore_errors=True)  # nothing goes on there
            return
        error = error_of(result, f"Trial {number}", "See the step's log.")
        if result.status in (JobStatus.LOST, JobStatus.CANCELLED) or self._senseless(error):
            raise error
        if self._records.get(number).ended is None:
            what = error.what if self._time_left() > 0 else "The search's time was up."
            self._records.end(number, FAILED, error=what)

    def _senseless(self, error: VolantError) -> bool:
        """Whether no trial can do better: what none has got past yet. Once one has, it is
        this one's parameters, and the trial has failed as by any other error."""
        known = {trial.state for trial in self._records.all()}
        return isinstance(error, InvalidInput) and not known & _FRUIT

    def _job(self, number: int, attempt: int) -> Job:
        request = self._request
        timeout_s = min(float(request.inputs["trial_timeout_s"]), max(1.0, self._time_left()))
        return Job(
            id=f"{request.run_id}:{request.step.name}:{number}:{attempt}",
            step=request.step.name,
            part=f"Trial {number}",
            run_id=request.run_id,
            attempt=attempt,
            workdir=request.workdir / f"trial-{number:05d}",
            log_path=request.workdir / "log.jsonl",
            inputs={
                **request.inputs,
                "number": number,
                "records": str(self._records.folder),
            },
            entry="volant.actions:trial",
            profile="train",
            timeout_s=timeout_s,
            memory_bytes=request.step.memory_bytes,
        )

    def _answer(self, trials: list[Trial]) -> Outputs:
        best = best_of(trials, greater=self._objective.greater)
        if best is None:
            raise _fruitless(trials)
        progress = progress_of(trials, self._spec, self._objective)
        fixed = dict(self._request.inputs.get("params") or {})
        return {
            "params": {**fixed, **best.params},
            "search": {**progress, "run": self._mirror.facts.id},
            "reason": _sentence(progress),
        }


class Mirror:
    """The search in the tracking tables, while it goes on. A table that can't be written for
    a moment holds no trial up: what is missing comes with the next look."""

    def __init__(
        self,
        desk: SearchDesk,
        request: StepRequest,
        spec: TuneSpec,
        objective: Objective,
        tags: Mapping[str, str],
    ) -> None:
        self._desk = desk
        self._spec = spec
        self._objective = objective
        self._fixed = dict(request.inputs.get("params") or {})
        self._told: dict[int, tuple[int, bool]] = {}
        self._progress: dict[str, Any] = {}
        self._begun = False
        self._best = 0
        self.facts = facts_of(request, spec, objective, tags)

    def follow(self, trials: list[Trial]) -> None:
        """Store what has changed since the last look."""
        try:
            self._follow(trials)
        except VolantError as error:
            log.warning("the search of %s isn't tracked: %s", self.facts.run_id, error)

    def stopped(self, *, cancelled: bool) -> None:
        """The search came to nothing."""
        running = [number for number, (_, ended) in self._told.items() if not ended]
        now = datetime.now(UTC)
        try:
            self._desk.stop(self.facts.run_id, running, now, cancelled=cancelled)
        except VolantError as error:
            log.warning("the end of the search of %s isn't tracked: %s", self.facts.run_id, error)

    def _follow(self, trials: list[Trial]) -> None:
        if not self._begun:
            self._desk.begin(self.facts)
            self._begun = True
        for trial in trials:
            if trial.drawn is None and trial.ended is None:
                continue  # it has no parameters yet
            told = _told(trial, self._fixed)
            now = len(told.points), trial.ended is not None
            before = self._told.get(trial.number)
            if before != now:
                self._desk.follow(self.facts, told, before[0] if before else 0)
                self._told[trial.number] = now
        progress = progress_of(trials, self._spec, self._objective)
        if progress != self._progress:
            curve = best_curve(trials, self._objective)
            self._desk.tell(self.facts, progress, curve[self._best :])
            self._progress, self._best = progress, len(curve)


def facts_of(
    request: StepRequest, spec: TuneSpec, objective: Objective, tags: Mapping[str, str]
) -> SearchFacts:
    """The search as its tracked run tells of it."""
    params = {
        "sampler": spec.sampler,
        "pruner": spec.pruner,
        "trials": spec.trials,
        "parallel": spec.parallel,
        "metric": objective.key,
        "direction": "maximize" if objective.greater else "minimize",
        "seed": request.inputs["seed"],
    }
    began = _began(request.workdir)
    return SearchFacts(request.run_id, str(request.loop), params, tags, began)


def _began(workdir: Path) -> datetime:
    """When the step's folder was made: the same time after a crash."""
    workdir.mkdir(parents=True, exist_ok=True)
    mark = workdir / "began"
    with contextlib.suppress(FileExistsError):
        mark.touch(exist_ok=False)
    return datetime.fromtimestamp(mark.stat().st_mtime, UTC)


def _told(trial: Trial, fixed: Mapping[str, Any]) -> TrialFacts:
    points: dict[tuple[str, int], Metric] = {}
    for point in (*trial.reports.values(), *trial.points):
        # A process that followed one which died measured some steps again: the first counts.
        metric = Metric(point.key, point.value, point.step, point.at)
        points.setdefault((point.key, point.step), metric)
    return TrialFacts(
        number=trial.number,
        state=trial.state,
        params={**fixed, **trial.params},
        points=sorted(points.values(), key=lambda point: point.timestamp),
        started=trial.started,
        ended=trial.ended,
        metrics=trial.metrics,
        error=trial.error,
    )


def progress_of(trials: list[Trial], spec: TuneSpec, objective: Objective) -> dict[str, Any]:
    """How far a search is, in numbers."""
    counts = Counter(trial.state for trial in trials)
    best = best_of(trials, greater=objective.greater)
    total = spec.trials if spec.sampler != "grid" else min(spec.trials, grid_size(spec.space))
    return {
        "trials": total,
        **{state: counts[state] for state in STATES},
        "metric": objective.key,
        "sampler": spec.sampler,
        "pruner": spec.pruner,
        "best": None
        if best is None
        else {"trial": best.number, "value": best.value, "params": dict(best.params)},
    }


def best_curve(trials: list[Trial], objective: Objective) -> list[Metric]:
    """The best value after each trial that ended, in the order of their ends."""
    ended = sorted(
        (trial for trial in trials if trial.ended is not None),
        key=lambda trial: (trial.ended or 0, trial.number),
    )
    found: list[Metric] = []
    best: Trial | None = None
    for count, trial in enumerate(ended, start=1):
        best = best_of([*([best] if best else []), trial], greater=objective.greater)
        if best is not None and best.value is not None:
            found.append(Metric(objective.key, best.value, count, trial.ended or 0))
    return found


def tune_decision(request: StepRequest, outputs: Outputs, now: datetime) -> Decision:
    """The line in `why`: what was tried and what was chosen."""
    return Decision(
        id=f"tune-{request.run_id}",
        kind=DecisionKind.TUNE,
        subject=f"loop/{request.loop}",
        outcome=Outcome.CHOSEN,
        reason=outputs["reason"],
        time=now,
        loop=request.loop,
        run_id=request.run_id,
        details=dict(outputs["search"]),
    )


def _sentence(progress: Mapping[str, Any]) -> str:
    best = progress["best"]
    params = ", ".join(f"{name} {_short(value)}" for name, value in best["params"].items())
    ended = sum(progress[state] for state in STATES if state != RUNNING)
    parts = [f"{progress[state]} {state}" for state in ("complete", "pruned", FAILED)]
    few = "" if ended >= progress["trials"] else f" of {progress['trials']}, the time was up"
    return (
        f"Trial {best['trial']} has the best {progress['metric']}, {_short(best['value'])}, with"
        f" {params}; {ended} trials{few} ({', '.join(parts)})."
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _doubtful(trials: list[Trial]) -> bool:
    """Whether some trials failed and none came to anything."""
    failed = sum(trial.state == FAILED for trial in trials)
    return failed >= _FRUITLESS and not any(trial.state in _FRUIT for trial in trials)


def _fruitless(trials: list[Trial]) -> StepFailed:
    errors = Counter(trial.error for trial in trials if trial.error)
    common = errors.most_common(1)
    told = f" Most often: {common[0][0]}" if common else ""
    return StepFailed(
        f"None of {len(trials)} trials was completed.{told}",
        "See the step's log; correct the function or the space and apply the loop again.",
        code="tune_fruitless",
        details={"errors": {str(error): count for error, count in errors.most_common(5)}},
    )
