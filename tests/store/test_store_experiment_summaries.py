"""Experiments at a glance, on both databases."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from volant.domain.tracking import Lifecycle, Metric, MetricSpan, TrackedRun, TrackingStatus
from volant.store import Store

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_runs_and_spans_by_experiment(store: Store) -> None:
    wine, other = (store.experiments.create(name).id for name in ("wine", "other"))
    for place, (experiment, value) in enumerate(
        [(wine, 3.0), (wine, math.nan), (wine, 1.0), (other, math.inf), (wine, 0.0)]
    ):
        store.tracking.record_run(
            TrackedRun(
                id=f"r{place}",
                experiment_id=experiment,
                name="r",
                status=TrackingStatus.RUNNING if place else TrackingStatus.FINISHED,
                started_at=NOW + timedelta(minutes=place),
            ),
            [Metric("rmse", value, 0, 1)],
        )
    store.tracked_runs.change("r4", lifecycle=Lifecycle.DELETED)
    found, more = store.experiment_summaries.page(10)
    assert not more
    told = [(each.experiment.name, each.runs, each.active, each.newest) for each in found]
    assert told == [
        ("other", 1, 1, NOW + timedelta(minutes=3)),
        ("wine", 3, 2, NOW + timedelta(minutes=2)),
        ("Default", 0, 0, None),
    ]
    assert found[1].metrics == (MetricSpan("rmse", 3, 1.0, 3.0),)
    assert found[0].metrics == (MetricSpan("rmse", 1, math.inf, math.inf),)
    page, more = store.experiment_summaries.page(1, 1)
    assert more
    assert page[0].experiment.name == "wine"
    assert [e.experiment.id for e in store.experiment_summaries.page(5, name="wine")[0]] == [wine]
