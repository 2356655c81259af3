"""One trial of a search: the training function with parameters that a sampler chose, and
what it is worth.

A metric that Volant measures is measured on rows set aside of the training rows; the frozen
holdout has no part in a search. A metric of the user's own is what the function reports,
logs or returns last under that name; it gets all training rows then.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

from volant.domain.codec import from_plain
from volant.domain.loop import TuneSpec
from volant.domain.metric import GREATER_IS_BETTER
from volant.domain.run import StepContext
from volant.errors import InvalidInput, StepFailed
from volant.faults import crash_point
from volant.training.callable import CallSpec, Measure, Returned, call_fit
from volant.training.objective import Objective, objective_of
from volant.training.schema import features_of, require_target, target_of
from volant.training.search import Score
from volant.training.study import Study
from volant.training.train import wrapped
from volant.training.trial_records import COMPLETE, FAILED, PRUNED, Records, Trial, best_of

_ASIDE = 5  # without folds, one part of so many is set aside
REPORTED = "reported"  # the key of what a function reports beside Volant's own metric


class Pruned(BaseException):
    """The trial is given up: others at the same step were better. No `except Exception` of
    the user's catches it."""


class TrialHandle:
    """What a training function gets as `trial`."""

    def __init__(self, study: Study, number: int, params: Mapping[str, Any], key: str) -> None:
        self.number = number
        self.params = dict(params)
        self._study = study
        self._key = key
        self._judged = True

    def report(self, step: int, value: float) -> None:
        """Tell how good the model is after `step`, in the searched metric. When others were
        better at that step, the trial ends here. With folds, only their means count."""
        number, at = float(value), int(step)
        if self._judged and self._study.report(self._key, at, number):
            raise Pruned

    def judge_only_folds(self) -> None:
        """Take no notice of what the function reports."""
        self._judged = False

    def fold(self, step: int, value: float) -> None:
        """The mean of the folds so far."""
        if self._study.report(self._key, step, value):
            raise Pruned


def trial(inputs: Mapping[str, Any], context: StepContext, score: Score) -> dict[str, Any]:
    """Run one trial and record how it ended.

    Inputs: those of `train`, `tune` (a plain `TuneSpec`), `number`, `records` (the folder).
    Outputs: number, state, value. A function that raises makes the trial failed, which is
    an outcome like any other.

    Raises:
        InvalidInput: no trial of this search can succeed: no such function, a metric that
            isn't measured, a sampler that isn't installed.
    """
    spec = from_plain(TuneSpec, inputs["tune"])
    number, records = int(inputs["number"]), Records(Path(inputs["records"]))
    objective = objective_of(spec, inputs.get("metric"), str(inputs["task"]))
    records.write(number, "began", attempt=context.attempt)
    seed = int(inputs["seed"])
    study = Study(spec, records, number, greater=objective.greater, seed=seed)
    chosen = study.ask()
    crash_point("tune.asked")
    work = _Work(inputs, spec, objective, study, records, number, {**inputs["params"], **chosen})
    with contextlib.redirect_stdout(Labelled(sys.stdout, number)):
        facts = _outcome(work, context, score)
        crash_point("tune.measured")
        records.end(number, **facts)
        _tell(records, records.get(number), objective)
    return {"number": number, "state": facts["state"], "value": facts.get("value")}


@dataclass(frozen=True, slots=True)
class _Work:
    inputs: Mapping[str, Any]
    spec: TuneSpec
    objective: Objective
    study: Study
    records: Records
    number: int
    params: dict[str, Any]


def _outcome(work: _Work, context: StepContext, score: Score) -> dict[str, Any]:
    """The record's last line: state, value, metrics, error."""
    try:
        metrics = _measure(work, context, score)
    except Pruned:
        return {"state": PRUNED}
    except StepFailed as error:
        if isinstance(error.__cause__, optuna.TrialPruned):
            return {"state": PRUNED}
        return {"state": FAILED, "error": error.what}
    key = work.objective.key
    value = metrics.get(key)
    if value is None:
        raise InvalidInput(
            f"{work.inputs['call']!r} didn't measure {key!r}, the metric of the search.",
            f"Report it (trial.report), log it (log_metric({key!r}, …)) or return it; or name"
            f" one of: {', '.join(GREATER_IS_BETTER)}.",
            code="tune_metric_missing",
            details={"metric": key, "measured": sorted(metrics)},
        )
    if not math.isfinite(value):
        return {"state": FAILED, "error": f"{key} is {value}."}
    finite = {name: number for name, number in metrics.items() if math.isfinite(number)}
    return {"state": COMPLETE, "value": value, "metrics": finite}


def _measure(work: _Work, context: StepContext, score: Score) -> dict[str, float]:
    inputs, objective = work.inputs, work.objective
    rows = pq.read_table(Path(inputs["train_path"]))
    require_target(rows, str(inputs["target"]), str(inputs["model_name"]))
    reported = objective.key if objective.own else REPORTED
    handle = TrialHandle(work.study, work.number, work.params, reported)
    if objective.own:
        returned, metrics = _fit(work, rows, context, handle)
        del returned
        known = work.records.get(work.number)
        last = max(known.reports.values(), key=lambda point: point.at, default=None)
        return {**({objective.key: last.value} if last else {}), **metrics}
    if work.spec.folds > 1:
        handle.judge_only_folds()
    found: list[dict[str, float]] = []
    folds = list(_folds(rows, inputs, work.spec.folds))
    for place, (fit_on, judge_on) in enumerate(folds):
        returned, metrics = _fit(work, rows.take(pa.array(fit_on)), context, handle)
        scores = _scores(work, returned, rows.take(pa.array(judge_on)), score)
        found.append({**metrics, **scores})
        if objective.key not in scores:
            raise InvalidInput(
                f"{objective.metric} isn't defined for what {inputs['call']!r} returned.",
                "Return a classifier with predict_proba, or search another metric.",
                code="tune_metric_missing",
            )
        if len(folds) > 1 and place < len(folds) - 1:
            handle.fold(place, float(np.mean([each[objective.key] for each in found])))
    names = [name for name in found[0] if all(name in each for each in found)]
    return {name: float(np.mean([each[name] for each in found])) for name in names}


def _fit(
    work: _Work, rows: pa.Table, context: StepContext, handle: TrialHandle
) -> tuple[Returned, dict[str, float]]:
    """Call the function; what it logged goes into the record, the last of each key counts."""
    inputs = work.inputs
    spec = CallSpec(
        str(inputs["call"]),
        Path(inputs["code_dir"]),
        str(inputs["target"]),
        str(inputs["task"]),
        int(inputs["seed"]),
        work.params,
    )
    features = features_of(rows, spec.target)
    logged: dict[str, float] = {}

    def measured(name: str, value: float, step: int) -> None:
        logged[name] = value
        work.records.write(work.number, "measured", key=name, value=value, step=step)

    returned = call_fit(spec, rows, features, context, Measure(measured, handle))
    return returned, {**logged, **returned.metrics}


def _scores(work: _Work, returned: Returned, rows: pa.Table, score: Score) -> dict[str, float]:
    """Every metric of the task on rows that the model hasn't seen, as `val_NAME`."""
    inputs = work.inputs
    task, target = str(inputs["task"]), str(inputs["target"])
    spec = CallSpec(str(inputs["call"]), Path(inputs["code_dir"]), target, task, 0, work.params)
    pipeline, features = wrapped(returned, rows, features_of(rows, target), spec)
    asked = rows.select(features.names)
    predicted = np.asarray(pipeline.predict(asked)).ravel()
    chances = classes = None
    if task == "classification" and hasattr(pipeline, "predict_proba"):
        chances = np.asarray(pipeline.predict_proba(asked), dtype=np.float64)
        classes = pipeline.classes_
    scores = score(task, target_of(rows, target, task), predicted, chances, classes=classes)
    return {f"val_{name}": value for name, value in scores.items()}


def _folds(
    rows: pa.Table, inputs: Mapping[str, Any], folds: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit and rows to judge, the same for every trial; by class where every class
    has two rows at least."""
    seed, task = int(inputs["seed"]), str(inputs["task"])
    target = target_of(rows, str(inputs["target"]), task)
    parts = min(folds if folds > 1 else _ASIDE, max(2, len(target) // 2))
    splitter: Any = KFold(parts, shuffle=True, random_state=seed)
    if task == "classification":
        least = int(np.unique(target, return_counts=True)[1].min())
        if least >= 2:
            splitter = StratifiedKFold(min(parts, least), shuffle=True, random_state=seed)
    for place, fold in enumerate(splitter.split(np.zeros(len(target)), target)):
        if place < folds:
            yield fold


def _tell(records: Records, done: Trial, objective: Objective) -> None:
    """A line for the log: how it ended, and the best so far."""
    words = done.state
    if done.state == COMPLETE:
        words = f"{objective.key} {done.value:.6g}"
    elif done.state == PRUNED:
        words = f"given up after {len(done.reports)} reports"
    elif done.error:
        words = f"failed: {done.error}"
    params = ", ".join(f"{name} {_short(value)}" for name, value in done.params.items())
    best = best_of(records.all(), greater=objective.greater)
    if best is not None:
        params += f"; best so far {best.value:.6g} (trial {best.number})"
    print(f"{words}; {params}", flush=True)  # noqa: T201 - stdout is the step's log


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Labelled:
    """Standard output of a trial: each line says whose it is."""

    def __init__(self, out: Any, number: int) -> None:
        self._out = out
        self._label = f"trial {number}: "
        self._open = False

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._out.write(line if self._open else self._label + line)
            self._open = not line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)
