"""What the platform's own steps track: one record a training, whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from volant.domain.tracking import Experiment, Lifecycle, Metric, TrackedRun, TrackingStatus
from volant.errors import Conflict, NotFound
from volant.store.engine import Database
from volant.store.experiments import SqlExperiments
from volant.store.measurements import history, insert_points
from volant.store.rows import values
from volant.store.tracked_runs import find_run, insert_pairs
from volant.store.tracking_tables import params, tags, tracked_runs


class SqlTracking:
    """`TrackingRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._experiments = SqlExperiments(database)

    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> Experiment:
        try:
            found = self._experiments.by_name(name)
        except NotFound:
            found = self._experiments.create(name, exist_ok=True)
        if tags and not tags.items() <= found.tags.items():
            return self._experiments.change(found.id, tags=tags)
        return found

    def revive(self, name: str) -> bool:
        try:
            found = self._experiments.by_name(name)
        except NotFound:
            return False
        if found.lifecycle is Lifecycle.ACTIVE:
            return False
        self._experiments.change(found.id, lifecycle=Lifecycle.ACTIVE)
        return True

    def record_run(self, run: TrackedRun, metrics: Sequence[Metric]) -> TrackedRun:
        """As the port says. A key of `run.metrics` that `metrics` lacks is stored as a
        history of one point, at step 0 and the run's end."""
        with self._database.write() as work:
            if work.insert_new(tracked_runs, values(tracked_runs, run)):
                insert_pairs(work, params, run.id, run.params)
                insert_pairs(work, tags, run.id, run.tags)
                insert_points(work, run.id, [*metrics, *_unseen(run, metrics)])
            return find_run(work.connection, run.id)

    def finish_run(self, run_id: str, status: TrackingStatus, ended_at: datetime) -> None:
        guarded = (
            sa.update(tracked_runs)
            .where(tracked_runs.c.id == run_id, tracked_runs.c.status == TrackingStatus.RUNNING)
            .values(status=status, ended_at=ended_at)
        )
        with self._database.write() as work:
            if work.changed(guarded):
                return
            stored = find_run(work.connection, run_id).status
            if stored is not status:
                raise Conflict(
                    f"Tracked run {run_id} ended as {stored.value}, so it can't end as"
                    f" {status.value}.",
                    "Track a new run instead.",
                    details={"run": run_id, "status": stored.value},
                )

    def get_run(self, run_id: str) -> TrackedRun:
        with self._database.read() as connection:
            return find_run(connection, run_id)

    def history(self, run_id: str, key: str) -> Sequence[Metric]:
        """Every point of one metric, in MLflow's order: by step, then time."""
        with self._database.read() as connection:
            points = history(connection, run_id, key)
            if not points:
                find_run(connection, run_id)
            return points


def _unseen(run: TrackedRun, measured: Sequence[Metric]) -> list[Metric]:
    seen = {point.key for point in measured}
    at = int((run.ended_at or run.started_at).timestamp() * 1000)
    return [Metric(key, value, 0, at) for key, value in run.metrics.items() if key not in seen]
