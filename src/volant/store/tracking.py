"""Experiments, tracked runs and their metrics."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.tracking import Experiment, Metric, TrackedRun, TrackingStatus
from volant.errors import Conflict
from volant.store.engine import Database, Write
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.schema import experiments, latest_metrics, params, tags, tracked_runs
from volant.store.schema import metrics as metric_table

_POINT = [metric_table.c[name] for name in ("key", "value", "step", "time")]


class SqlTracking:
    """`TrackingRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def experiment(self, name: str) -> Experiment:
        statement = sa.select(*columns(experiments)).where(experiments.c.name == name)
        with self._database.read() as connection:
            row = one(connection, statement)
        if row is not None:
            return record(Experiment, row)
        # 18 digits, as MLflow's own clients expect of an experiment's id
        number = str(10**17 + secrets.randbelow(9 * 10**17))
        new = Experiment(id=number, name=name, created_at=datetime.now(UTC))
        with self._database.write() as work:
            work.insert_new(experiments, values(experiments, new))
            return record(Experiment, work.execute(statement).mappings().one())

    def record_run(self, run: TrackedRun, metrics: Sequence[Metric]) -> TrackedRun:
        """As the port says. A key of `run.metrics` that `metrics` lacks is stored as a
        history of one point, at step 0 and the run's end."""
        with self._database.write() as work:
            if work.insert_new(tracked_runs, values(tracked_runs, run)):
                points = [*metrics, *_unseen(run, metrics)]
                _insert_all(work, params, _pairs(run.id, run.params))
                _insert_all(work, tags, _pairs(run.id, run.tags))
                _insert_points(work, run.id, points)
            return _find(work.connection, run.id)

    def finish_run(self, run_id: str, status: TrackingStatus, ended_at: datetime) -> None:
        guarded = (
            sa.update(tracked_runs)
            .where(tracked_runs.c.id == run_id, tracked_runs.c.status == TrackingStatus.RUNNING)
            .values(status=status, ended_at=ended_at)
        )
        with self._database.write() as work:
            if work.changed(guarded):
                return
            stored = _find(work.connection, run_id).status
            if stored is not status:
                raise Conflict(
                    f"Tracked run {run_id} ended as {stored.value}, so it can't end as"
                    f" {status.value}.",
                    "Track a new run instead.",
                    details={"run": run_id, "status": stored.value},
                )

    def get_run(self, run_id: str) -> TrackedRun:
        with self._database.read() as connection:
            return _find(connection, run_id)

    def history(self, run_id: str, key: str) -> Sequence[Metric]:
        """Every point of one metric, in MLflow's order: by step, then time."""
        statement = (
            sa.select(*_POINT)
            .where(metric_table.c.run_id == run_id, metric_table.c.key == key)
            .order_by(metric_table.c.step, metric_table.c.time, metric_table.c.seq)
        )
        with self._database.read() as connection:
            points = several(connection, Metric, statement)
            if not points:
                _find(connection, run_id)
            return points


def _pairs(run_id: str, items: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"run_id": run_id, "key": key, "value": value} for key, value in items.items()]


def _insert_all(work: Write, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        work.execute(sa.insert(table), rows)


def _insert_points(work: Write, run_id: str, points: Sequence[Metric]) -> None:
    for table, chosen in ((metric_table, points), (latest_metrics, _latest(points))):
        _insert_all(work, table, [values(table, point, run_id=run_id) for point in chosen])


def _unseen(run: TrackedRun, history: Sequence[Metric]) -> list[Metric]:
    seen = {point.key for point in history}
    time = run.ended_at or run.started_at
    return [Metric(key, value, 0, time) for key, value in run.metrics.items() if key not in seen]


def _latest(points: Sequence[Metric]) -> list[Metric]:
    def rank(point: Metric) -> tuple[int, datetime, bool, float]:
        is_nan = math.isnan(point.value)  # NaN has no order; any number beats it
        return point.step, point.time, not is_nan, 0.0 if is_nan else point.value

    latest: dict[str, Metric] = {}
    for point in points:
        if point.key not in latest or rank(point) >= rank(latest[point.key]):
            latest[point.key] = point
    return list(latest.values())


def _find(connection: sa.Connection, run_id: str) -> TrackedRun:
    row = one(connection, sa.select(*columns(tracked_runs)).where(tracked_runs.c.id == run_id))
    if row is None:
        raise missing("tracked run", run_id)
    return TrackedRun(
        **row,
        params=_mapping(connection, params, run_id),
        metrics=_mapping(connection, latest_metrics, run_id),
        tags=_mapping(connection, tags, run_id),
    )


def _mapping(connection: sa.Connection, table: sa.Table, run_id: str) -> dict[str, Any]:
    statement = (
        sa.select(table.c.key, table.c.value).where(table.c.run_id == run_id).order_by(table.c.key)
    )
    return {row.key: row.value for row in connection.execute(statement)}
