"""Experiments at a glance: how many runs, how new, and the span of each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.tracking import ExperimentSummary, Lifecycle, MetricSpan, TrackingStatus
from volant.store.engine import Database
from volant.store.experiments import whole_experiments
from volant.store.rows import columns
from volant.store.tracking_tables import experiments, latest_metrics, tracked_runs


class SqlExperimentSummaries:
    """`ExperimentSummaries` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, limit: int, offset: int = 0, *, name: str | None = None
    ) -> tuple[Sequence[ExperimentSummary], bool]:
        runs = tracked_runs.c
        counted = (
            sa.select(
                runs.experiment_id,
                sa.func.count().label("runs"),
                sa.func.count().filter(runs.status == TrackingStatus.RUNNING).label("active"),
                sa.func.max(runs.started_at).label("newest"),
            )
            .where(runs.lifecycle == Lifecycle.ACTIVE)
            .group_by(runs.experiment_id)
            .subquery()
        )
        statement = (
            sa.select(*columns(experiments), counted.c.runs, counted.c.active, counted.c.newest)
            .outerjoin(counted, counted.c.experiment_id == experiments.c.id)
            .where(experiments.c.lifecycle == Lifecycle.ACTIVE)
            .order_by(sa.nulls_last(counted.c.newest.desc()), experiments.c.seq.desc())
        )
        if name is not None:
            statement = statement.where(experiments.c.name == name)
        with self._database.read() as connection:
            rows = connection.execute(statement.limit(limit + 1).offset(offset)).mappings().all()
            more, rows = len(rows) > limit, rows[:limit]
            spans = _spans(connection, [row["id"] for row in rows])
            facts = ("runs", "active", "newest")
            bare = [{k: v for k, v in row.items() if k not in facts} for row in rows]
            found = whole_experiments(connection, bare)
        return [
            ExperimentSummary(
                experiment,
                runs=row["runs"] or 0,
                active=row["active"] or 0,
                newest=row["newest"],
                metrics=tuple(spans.get(experiment.id, ())),
            )
            for row, experiment in zip(rows, found, strict=True)
        ], more


def _spans(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[MetricSpan]]:
    """By experiment, in the order of the metrics' names."""
    runs, latest = tracked_runs.c, latest_metrics.c
    statement = (
        sa.select(
            runs.experiment_id,
            latest.key,
            sa.func.count(),
            sa.func.min(latest.value),
            sa.func.max(latest.value),
        )
        .join(tracked_runs, runs.id == latest.run_id)
        .where(runs.experiment_id.in_(ids), runs.lifecycle == Lifecycle.ACTIVE)
        .group_by(runs.experiment_id, latest.key)
        .order_by(latest.key)
    )
    found: dict[str, list[MetricSpan]] = {}
    for experiment, key, count, least, greatest in connection.execute(statement):
        span = MetricSpan(key, count, _number(least), _number(greatest))
        found.setdefault(experiment, []).append(span)
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
