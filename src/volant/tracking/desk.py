"""The verbs on tracked runs: record one training, get it, its metric histories.

Words, identifiers and limits are MLflow's, so that its clients can read what is here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from volant.domain.tracking import Metric, TrackedRun, TrackingStatus
from volant.errors import NotFound
from volant.ports.records import TrackingRecords
from volant.tracking.checks import MAX_KEY, MAX_PARAM, MAX_TAG


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """Where a training comes from; each becomes a tag."""

    run_id: str
    loop: str
    dataset: str
    dataset_version: int
    code_hash: str
    environment_hash: str
    call: str | None = None


class TrackingDesk:
    """Records trainings under an experiment that bears the loop's name."""

    def __init__(self, *, tracking: TrackingRecords) -> None:
        self._tracking = tracking

    def record(
        self,
        facts: TrainingFacts,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        history: Iterable[Mapping[str, Any]] = (),
        artifact_uri: str = "",
        started_at: datetime,
        ended_at: datetime,
        status: TrackingStatus = TrackingStatus.FINISHED,
        tags: Mapping[str, str] | None = None,
    ) -> TrackedRun:
        """Store one training with everything that is known of it.

        Idempotent: the tracked run's id is derived from `facts.run_id`, and the same one
        again returns what is stored. Values that aren't finite can't be stored as
        numbers; their keys are told in the tag `volant.not_finite`.

        Args:
            facts: Where it comes from.
            params: Nested mappings become dotted keys; values become text.
            metrics: The final values.
            history: `{"key", "value", "step"}` in the order they were measured.
            artifact_uri: Where the model's files are.
            started_at: UTC.
            ended_at: UTC; also the time of each metric, none having its own.
            status: How it ended.
            tags: Further tags; ours win.
        """
        experiment = self._tracking.experiment(facts.loop)
        measured, not_finite = _measured(metrics, history, ended_at)
        own = _tags(facts, not_finite)
        run = TrackedRun(
            id=tracking_id(facts.run_id),
            experiment_id=experiment.id,
            name=f"{facts.loop} {facts.run_id}",
            status=status,
            started_at=started_at,
            ended_at=ended_at,
            artifact_uri=artifact_uri,
            params=flat(params),
            metrics={metric.key: metric.value for metric in measured},
            tags={**(tags or {}), **own},
        )
        return self._tracking.record_run(run, measured)

    def revive(self, loop: str) -> str | None:
        """Restore the loop's experiment, with its runs, if somebody deleted it: a sentence
        for the log of the run that is about to be recorded there; None if it wasn't."""
        if not self._tracking.revive(loop):
            return None
        return f"The experiment {loop!r} was deleted. It is restored, with its runs, for this one."

    def get(self, run_id: str) -> TrackedRun:
        """By its tracking id, or by the id of the run of a loop that made it."""
        try:
            return self._tracking.get_run(run_id)
        except NotFound:
            derived = tracking_id(run_id)
        try:
            return self._tracking.get_run(derived)
        except NotFound:
            raise NotFound(
                f"There is no tracked run {run_id[:80]!r}.",
                "`volant runs` shows the runs; one is tracked once its training has ended.",
                code="tracking.not_found",
                details={"run": run_id},
            ) from None

    def history(self, run_id: str, key: str) -> Sequence[Metric]:
        """Every value of one metric, in the order of its steps. Raises `NotFound` for
        an unknown run; a metric that wasn't measured has an empty history."""
        return self._tracking.history(self.get(run_id).id, key)


def tracking_id(run_id: str) -> str:
    """32 hexadecimal digits, as MLflow's run ids are, the same for the same run."""
    return hashlib.sha256(f"volant tracked run {run_id}".encode()).hexdigest()[:32]


def _measured(
    metrics: Mapping[str, float], history: Iterable[Mapping[str, Any]], time: datetime
) -> tuple[list[Metric], list[str]]:
    """Every measurement with its key's latest last, and the keys with values that aren't
    finite."""
    at = int(time.timestamp() * 1000)
    found: dict[tuple[str, int], Metric] = {}
    not_finite: dict[str, None] = {}
    last: dict[str, int] = {}
    for item in history:
        key, value, step = str(item["key"])[:MAX_KEY], float(item["value"]), int(item["step"])
        last[key] = max(step, last.get(key, step))
        if math.isfinite(value):
            found[key, step] = Metric(key, value, step, at)
        else:
            not_finite[key] = None
    for key, value in metrics.items():
        short = key[:MAX_KEY]
        step = last.get(short, 0)
        latest = found.get((short, step))
        if not math.isfinite(value):
            not_finite[short] = None
        elif latest is None:
            found[short, step] = Metric(short, float(value), step, at)
        elif latest.value != value:
            # The final value isn't the last one measured on the way: it comes after it.
            found[short, step + 1] = Metric(short, float(value), step + 1, at)
    ordered = sorted(found.values(), key=lambda metric: (metric.key, metric.step))
    return ordered, list(not_finite)


def _tags(facts: TrainingFacts, not_finite: Sequence[str]) -> dict[str, str]:
    found = {
        "mlflow.runName": f"{facts.loop} {facts.run_id}",
        "mlflow.source.name": facts.call or f"loop {facts.loop}",
        "mlflow.source.type": "PROJECT" if facts.call else "JOB",
        "volant.run_id": facts.run_id,
        "volant.loop": facts.loop,
        "volant.dataset": facts.dataset,
        "volant.data_version": str(facts.dataset_version),
        "volant.code_hash": facts.code_hash,
        "volant.environment_hash": facts.environment_hash,
    }
    if not_finite:
        found["volant.not_finite"] = ", ".join(not_finite)
    return {key: value[:MAX_TAG] for key, value in found.items()}


def flat(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested mappings with dotted keys, values as text."""
    return dict(_flat(params, ""))


def _flat(params: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name[:MAX_KEY], _text(value)[:MAX_PARAM]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
