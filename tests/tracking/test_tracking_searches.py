"""Searches as tracked runs, and experiments at a glance, on a real store."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from volant.domain.tracking import Lifecycle, Metric, MetricSpan, TrackingStatus
from volant.errors import NotFound
from volant.store import Store
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.runs import TrackedRunDesk
from volant.tracking.searches import SearchDesk, SearchFacts, TrialFacts, trial_id
from volant.tracking.summaries import SummaryDesk, main_metric

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
FACTS = SearchFacts("run-1", "wine", {"sampler": "tpe"}, {"volant.dataset": "wine"}, NOW)
PROGRESS = {"trials": 3, "complete": 1, "best": {"trial": 0, "value": 0.5}}


@pytest.fixture
def searches(store: Store) -> SearchDesk:
    return SearchDesk(store.tracking, store.tracked_runs, store.run_data)


@pytest.fixture
def summaries(store: Store) -> SummaryDesk:
    return SummaryDesk(store.experiment_summaries)


def trial(points: int, **more: object) -> TrialFacts:
    measured = [Metric("val_loss", 1 / (1 + step), step, MS + step) for step in range(points)]
    facts = {"number": 0, "state": "running", "params": {"depth": 3}, "started": MS, **more}
    return TrialFacts(points=measured, **facts)  # type: ignore[arg-type]


def test_a_trial_is_followed_and_the_same_again_changes_nothing(
    store: Store, searches: SearchDesk
) -> None:
    done = trial(3, state="complete", ended=MS + 9, metrics={"val_loss": 0.25, "val_f1": 0.5})
    for _ in range(2):  # the second time as after a crash: nothing is known of the first
        searches.begin(FACTS)
        searches.follow(FACTS, trial(1))
        searches.follow(FACTS, trial(2), 1)
        searches.follow(FACTS, done, 2)
        searches.tell(FACTS, PROGRESS, [Metric("val_loss", 0.25, 1, MS + 9)])
    run = store.tracked_runs.get(trial_id("run-1", 0))
    assert run.status is TrackingStatus.FINISHED
    assert run.params == {"depth": "3"}
    assert run.metrics == {"val_loss": 0.25, "val_f1": 0.5}
    assert run.tags["mlflow.parentRunId"] == FACTS.id
    values = [(p.step, p.value) for p in store.tracking.history(run.id, "val_loss")]
    assert values == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]
    told = searches.progress("run-1")
    assert told == {**PROGRESS, "search": FACTS.id, "status": "RUNNING"}
    searches.end("run-1", NOW)
    assert searches.progress("run-1")["status"] == "FINISHED"
    assert len(store.tracking.history(FACTS.id, "val_loss")) == 1
    with pytest.raises(NotFound, match="has no search"):
        searches.progress("run-2")


@pytest.mark.parametrize(("cancelled", "status"), [(True, "KILLED"), (False, "FAILED")])
def test_a_stopped_search_leaves_nothing_running_and_may_go_on(
    store: Store, searches: SearchDesk, cancelled: bool, status: str
) -> None:
    searches.begin(FACTS)
    searches.follow(FACTS, trial(1))
    searches.stop("run-1", [0], NOW, cancelled=cancelled)
    assert searches.progress("run-1")["status"] == status
    assert store.tracked_runs.get(trial_id("run-1", 0)).status is TrackingStatus.KILLED
    searches.begin(FACTS)
    searches.follow(FACTS, trial(1))
    assert searches.progress("run-1")["status"] == "RUNNING"
    assert store.tracked_runs.get(trial_id("run-1", 0)).status is TrackingStatus.RUNNING
    searches.follow(FACTS, trial(1, state="pruned", ended=MS + 5), 1)
    assert store.tracked_runs.get(trial_id("run-1", 0)).status is TrackingStatus.KILLED


def test_experiments_at_a_glance(store: Store, summaries: SummaryDesk) -> None:
    experiments = ExperimentDesk(store.experiments)
    runs = TrackedRunDesk(store.tracked_runs, store.run_data, store.experiments)
    wine = experiments.create("wine")
    other = experiments.create("other", tags={"volant.metric": "speed"})
    gone = experiments.create("gone")
    experiments.delete(gone.id)
    ids = []
    for minute, value in enumerate((3.0, 1.0, math.nan)):
        started = NOW + timedelta(minutes=minute)
        run = runs.create(wine.id, name="r", user="me", started_at=started)
        runs.log(run.id, [Metric("val_rmse", value, 0, 1), Metric("epoch", 9.0, 0, 1)])
        ids.append(run.id)
    dropped = runs.create(wine.id, name="d", user="me", started_at=NOW)
    runs.log(dropped.id, [Metric("val_rmse", 0.0, 0, 1)])
    runs.delete(dropped.id)
    runs.update(ids[0], status=TrackingStatus.FINISHED)
    late = runs.create(other.id, name="o", user="me", started_at=NOW + timedelta(hours=1))
    runs.log(late.id, [Metric("speed", 7.0, 0, 1), Metric("accuracy", 0.5, 0, 1)])

    found, more = summaries.page(10)
    assert not more
    assert [each.experiment.name for each in found] == ["other", "wine", "Default"]
    first, second, empty = found
    assert (second.runs, second.active, second.newest) == (3, 2, NOW + timedelta(minutes=2))
    assert (second.metric, second.best) == ("val_rmse", 1.0)
    assert second.metrics[1] == MetricSpan("val_rmse", 3, 1.0, 3.0)
    assert (first.metric, first.best) == ("speed", None)  # which way is better, nobody knows
    assert (empty.runs, empty.newest, empty.metric) == (0, None, None)
    page, more = summaries.page(1, 1)
    assert more
    assert page[0] == second
    assert summaries.page(5, name="wine")[0] == [second]
    assert summaries.page(5, name="win")[0] == []
    assert summaries.page(5, name="gone")[0] == []
    assert experiments.get(gone.id).lifecycle is Lifecycle.DELETED


def test_the_main_metric_is_one_that_volant_knows() -> None:
    spans = [
        MetricSpan("epoch", 9, 0.0, 1.0),
        MetricSpan("system/cpu", 9, 0.0, 1.0),
        MetricSpan("cv_f1", 2, 0.0, 1.0),
        MetricSpan("val_r2", 3, 0.0, 1.0),
    ]
    assert main_metric(spans) == spans[3]
    assert main_metric(spans, "epoch") == spans[0]
    assert main_metric(spans[:2]) == spans[0]
    assert main_metric([]) is None
    assert main_metric(spans, "nothing", "epoch") == spans[0]
    assert main_metric(spans, "cv_f1", "epoch") == spans[2]


def test_a_metric_that_is_never_a_number_is_no_main_metric() -> None:
    nan = MetricSpan("val_rmse", 9, None, None)
    infinite = MetricSpan("accuracy", 9, math.inf, math.inf)
    finite = MetricSpan("speed", 1, 0.5, 2.0)
    assert main_metric([nan, infinite, finite]) == finite
    assert main_metric([nan, infinite]) is None
    assert main_metric([nan, finite], "val_rmse") == nan  # somebody wants to see just that


def test_a_searchs_own_metric_is_its_experiments(
    store: Store, searches: SearchDesk, summaries: SummaryDesk
) -> None:
    told = {"metric": "cost", "direction": "minimize"}
    searches.begin(replace(FACTS, params={**FACTS.params, **told}))
    for number, cost in enumerate((3.0, 2.0, 4.0)):
        done = {"state": "complete", "ended": MS + 9, "metrics": {"cost": cost, "val_f1": 0.5}}
        searches.follow(FACTS, trial(1, number=number, **done))
    (found,) = summaries.page(5, name="wine")[0]
    assert (found.metric, found.best, found.greater) == ("cost", 2.0, False)
    searches.begin(replace(FACTS, run_id="run-2", params={**told, "direction": "maximize"}))
    (found,) = summaries.page(5, name="wine")[0]
    assert (found.metric, found.best, found.greater) == ("cost", 4.0, True)
    searches.begin(replace(FACTS, run_id="run-3", params={"metric": "yet unmeasured"}))
    (found,) = summaries.page(5, name="wine")[0]
    assert (found.metric, found.best) == ("val_f1", 0.5)
    store.experiments.change(found.experiment.id, tags={"volant.metric": "val_f1"})
    (found,) = summaries.page(5, name="wine")[0]  # a person's word goes before
    assert (found.metric, found.best, found.greater) == ("val_f1", 0.5, True)
