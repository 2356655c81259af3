"""Searches for parameters as tracked runs: one for the search, and below it one a trial.

Everything here may be done again with what was known before: the same facts change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from volant.domain.tracking import Metric, TrackedRun, TrackingStatus
from volant.errors import NotFound
from volant.ports.records import TrackingRecords
from volant.ports.tracked import Measurements, TrackedRunRecords
from volant.tracking.checks import MAX_KEY, MAX_TAG
from volant.tracking.desk import flat, tracking_id
from volant.tracking.summaries import SEARCH_DIRECTION_TAG, SEARCH_METRIC_TAG

PARENT_TAG = "mlflow.parentRunId"
SEARCH_TAG = "volant.search"  # on the search's run: how far it is, as JSON

_ENDS = {
    "complete": TrackingStatus.FINISHED,
    "pruned": TrackingStatus.KILLED,
    "failed": TrackingStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """Which search: its run, its experiment (the loop), and how it searches."""

    run_id: str
    loop: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    started_at: datetime

    @property
    def id(self) -> str:
        """The tracked run's."""
        return search_id(self.run_id)


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """One trial as far as it is known. `state` is `running`, `complete`, `pruned` or
    `failed`; times are in milliseconds since 1970."""

    number: int
    state: str
    params: Mapping[str, Any]
    points: Sequence[Metric]
    started: int
    ended: int | None = None
    metrics: Mapping[str, float] | None = None
    error: str | None = None


class SearchDesk:
    """Records searches while they go on."""

    def __init__(
        self, tracking: TrackingRecords, runs: TrackedRunRecords, data: Measurements
    ) -> None:
        self._tracking = tracking
        self._runs = runs
        self._data = data

    def begin(self, search: SearchFacts) -> None:
        """The search's own run, running. Its experiment knows what it looks for."""
        wanted = {
            SEARCH_METRIC_TAG: search.params.get("metric"),
            SEARCH_DIRECTION_TAG: search.params.get("direction"),
        }
        self._tracking.experiment(
            search.loop, {key: str(told)[:MAX_TAG] for key, told in wanted.items() if told}
        )
        name = f"{search.loop} {search.run_id} search"
        own = {"mlflow.runName": name, "volant.run_id": search.run_id}
        run = _running(search.id, name, search.started_at, search.params, {**search.tags, **own})
        if self._record(search, run).status is not TrackingStatus.RUNNING:
            self._runs.change(search.id, status=TrackingStatus.RUNNING)  # a run was resumed

    def follow(self, search: SearchFacts, trial: TrialFacts, known: int = 0) -> None:
        """A trial's run with what is new of it: its points from the one numbered `known` on,
        its end."""
        run_id = trial_id(search.run_id, trial.number)
        name = f"trial {trial.number}"
        if not known:
            own = {"mlflow.runName": name, PARENT_TAG: search.id, "volant.run_id": search.run_id}
            tags = {**search.tags, **own, "volant.trial": str(trial.number)}
            started = _time(trial.started)
            run = self._record(search, _running(run_id, name, started, trial.params, tags))
            if run.status is TrackingStatus.KILLED and trial.ended is None:
                self._runs.change(run_id, status=TrackingStatus.RUNNING)
        if trial.points[known:]:
            self._data.log(run_id, trial.points[known:])
        if trial.ended is None:
            return
        tags = {"volant.trial_state": trial.state}
        if trial.error:
            tags["volant.error"] = trial.error[:MAX_TAG]
        self._data.log(run_id, _final(trial, trial.ended), tags=tags)
        self._runs.change(run_id, status=_ENDS[trial.state], ended_at=_time(trial.ended))

    def tell(
        self, search: SearchFacts, progress: Mapping[str, Any], best: Sequence[Metric] = ()
    ) -> None:
        """How far the search is, and the best value after each trial."""
        told = json.dumps(progress, default=str)
        self._data.log(search.id, best, tags={SEARCH_TAG: told[:MAX_TAG]})

    def end(self, run_id: str, at: datetime) -> None:
        """The search of a loop's run has found what it returned."""
        self._runs.change(search_id(run_id), status=TrackingStatus.FINISHED, ended_at=at)

    def stop(self, run_id: str, running: Sequence[int], at: datetime, *, cancelled: bool) -> None:
        """The search came to nothing, and the trials that were running with it."""
        status = TrackingStatus.KILLED if cancelled else TrackingStatus.FAILED
        self._runs.change(search_id(run_id), status=status, ended_at=at)
        for number in running:
            trial = trial_id(run_id, number)
            self._runs.change(trial, status=TrackingStatus.KILLED, ended_at=at)

    def progress(self, run_id: str) -> dict[str, Any]:
        """How far the search of a loop's run is. Raises `NotFound` when it has none."""
        try:
            run = self._tracking.get_run(search_id(run_id))
        except NotFound:
            raise NotFound(
                f"The run {run_id[:80]!r} has no search.",
                "`train.tune` in the loop file makes one.",
                code="tracking.no_search",
            ) from None
        found: dict[str, Any] = json.loads(run.tags.get(SEARCH_TAG, "{}"))
        return {**found, "search": run.id, "status": run.status.value}

    def _record(self, search: SearchFacts, run: TrackedRun) -> TrackedRun:
        """Store it unless it is stored already, in the experiment of the loop."""
        experiment = self._tracking.experiment(search.loop)
        return self._tracking.record_run(replace(run, experiment_id=experiment.id), ())


def search_id(run_id: str) -> str:
    """The tracked run of the search that a loop's run made."""
    return tracking_id(f"{run_id}:search")


def trial_id(run_id: str, number: int) -> str:
    """The tracked run of one of its trials."""
    return tracking_id(f"{run_id}:trial:{number}")


def _running(
    run_id: str,
    name: str,
    started_at: datetime,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> TrackedRun:
    return TrackedRun(
        id=run_id,
        experiment_id="",
        name=name,
        status=TrackingStatus.RUNNING,
        started_at=started_at,
        params=flat(params),
        tags=tags,
    )


def _final(trial: TrialFacts, at: int) -> list[Metric]:
    """The values that it ended with, each after the last point of its key."""
    last: dict[str, Metric] = {}
    for point in trial.points:
        if point.key not in last or point.step >= last[point.key].step:
            last[point.key] = point
    found: list[Metric] = []
    for key, value in (trial.metrics or {}).items():
        before = last.get(key[:MAX_KEY])
        if before is None:
            found.append(Metric(key[:MAX_KEY], value, 0, at))
        elif before.value != value:
            found.append(Metric(key[:MAX_KEY], value, before.step + 1, at))
    return found


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)
