"""Experiments, runs and logged models as programs use them, on a real store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from volant.adapters.system import SystemClock
from volant.domain.query import MeasuredOn, Order, named_order
from volant.domain.tracking import (
    DatasetInput,
    Lifecycle,
    LoggedModelStatus,
    Metric,
    ModelLink,
    TrackingStatus,
)
from volant.errors import Conflict, InvalidInput, NotFound
from volant.store import Store
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.runs import TrackedRunDesk
from volant.tracking.vocabularies import LOGGED_MODELS

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACTIVE = (Lifecycle.ACTIVE,)
PAGE = {"limit": 100, "offset": 0}


@pytest.fixture
def experiments(store: Store) -> ExperimentDesk:
    return ExperimentDesk(store.experiments)


@pytest.fixture
def runs(store: Store) -> TrackedRunDesk:
    return TrackedRunDesk(store.tracked_runs, store.run_data, store.experiments)


@pytest.fixture
def new_run(runs: TrackedRunDesk, experiments: ExperimentDesk) -> Callable[..., str]:
    experiment = experiments.create("wine")

    def make(name: str = "", minutes: int = 0, **tags: str) -> str:
        return runs.create(
            experiment.id,
            name=name,
            user="me",
            started_at=NOW + timedelta(minutes=minutes),
            tags=list(tags.items()),
        ).id

    make.experiment = experiment.id  # type: ignore[attr-defined]
    return make


def test_the_default_experiment_is_there(experiments: ExperimentDesk) -> None:
    assert experiments.get("0").name == "Default"
    with pytest.raises(InvalidInput):
        experiments.delete("0")


def test_names_are_unique_also_at_once(experiments: ExperimentDesk) -> None:
    def create(_: int) -> str | None:
        try:
            return experiments.create("same").id
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [each for each in pool.map(create, range(8)) if each is not None]
    assert made == [experiments.by_name("same").id]


def test_deleting_an_experiment_takes_its_runs_along(experiments, runs, new_run) -> None:
    run = new_run()
    experiments.delete(new_run.experiment)
    assert runs.get(run).lifecycle is Lifecycle.DELETED
    with pytest.raises(InvalidInput):
        new_run()
    with pytest.raises(InvalidInput):
        runs.log(run, [Metric("a", 1.0, 0, 0)])
    with pytest.raises(InvalidInput):
        experiments.rename(new_run.experiment, "other")
    experiments.restore(new_run.experiment)
    assert runs.get(run).lifecycle is Lifecycle.ACTIVE


def test_experiments_are_found_by_name_tag_and_time(experiments: ExperimentDesk) -> None:
    for name in ("Alpha", "alpine", "beta"):
        experiments.create(name, tags={"team": name[0]})

    def names(text: str | None, *order: str, limit: int = 10) -> list[str]:
        found, _ = experiments.search(text, order, ACTIVE, limit, 0)
        return [each.name for each in found if each.name != "Default"]

    assert names("name LIKE 'al%'") == ["alpine"]
    assert names("name ILIKE 'AL%'", "name DESC") == ["alpine", "Alpha"]
    assert names("tags.team = 'b'") == ["beta"]
    assert names("creation_time > 0", "name ASC") == ["Alpha", "alpine", "beta"]
    assert names("creation_time > 99999999999999999") == []
    assert experiments.search(None, [], ACTIVE, 2, 0)[1] is True


def test_a_run_gets_a_name_and_keeps_its_tag_true(runs, new_run) -> None:
    run = new_run()
    found = runs.get(run)
    assert found.name == found.tags["mlflow.runName"] != ""
    assert runs.update(run, name="renamed").tags["mlflow.runName"] == "renamed"
    runs.log(run, tags=[("mlflow.runName", "again")])
    assert runs.get(run).name == "again"
    ended = runs.update(run, status=TrackingStatus.FINISHED, ended_at=NOW)
    assert (ended.status, ended.ended_at) == (TrackingStatus.FINISHED, NOW)


def test_the_latest_point_is_by_step_time_value(runs, new_run) -> None:
    run = new_run()
    points = [(5.0, 2, 10), (1.0, 1, 99), (4.0, 2, 9), (math.nan, 2, 10), (6.0, 2, 10)]
    for value, step, at in points:
        runs.log(run, [Metric("m", value, step, at)])
    assert runs.get(run).metrics == {"m": 6.0}
    assert len(runs.history(run, "m")) == len(points)
    runs.log(run, [Metric("m", 6.0, 2, 10)])  # a client's retry
    assert len(runs.history(run, "m")) == len(points)
    runs.log(run, [Metric("m", math.nan, 3, 0)])
    assert math.isnan(runs.get(run).metrics["m"])
    runs.log(run, [Metric("m", 0.0, 3, 0)])  # any number beats NaN
    assert runs.get(run).metrics == {"m": 0.0}


def test_extremes_come_back_as_they_were(runs, new_run) -> None:
    run = new_run()
    points = [
        Metric("x", math.inf, 2**63 - 1, 0),
        Metric("y", -math.inf, -(2**63), 2**63 - 1),
        Metric("z", 5e-324, 0, 0),
    ]
    runs.log(run, points)
    assert runs.get(run).latest == tuple(points)


def test_a_param_is_written_once(runs, new_run) -> None:
    run = new_run()
    runs.log(run, params=[("depth", "3"), ("depth", "3")])
    runs.log(run, params=[("depth", "3")])
    with pytest.raises(InvalidInput) as caught:
        runs.log(run, [Metric("a", 1.0, 0, 0)], params=[("depth", "4")])
    assert "Changing param values is not allowed" in caught.value.what
    assert runs.get(run).metrics == {}  # all or nothing
    with pytest.raises(InvalidInput):
        runs.log(run, params=[("a", "1"), ("a", "2")])


@pytest.mark.parametrize(
    "key", ["", "a" * 251, "../up", "/root", "a//b", "a/../b", "new\nline", "per%cent", "."]
)
def test_keys_that_cannot_be(runs, new_run, key: str) -> None:
    run = new_run()
    for items in ({"params": [(key, "1")]}, {"tags": [(key, "1")]}):
        with pytest.raises(InvalidInput):
            runs.log(run, **items)
    with pytest.raises(InvalidInput):
        runs.log(run, [Metric(key, 1.0, 0, 0)])


def test_limits_are_told(runs, new_run) -> None:
    run = new_run()
    runs.log(run, params=[("long", "x" * 6000)], tags=[("long", "y" * 8000)])
    for items in (
        {"params": [("p", "x" * 1_000_000)]},
        {"tags": [("t", "y" * 1_000_000)]},
        {"params": [(f"p{i}", "1") for i in range(101)]},
        {"tags": [(f"t{i}", "1") for i in range(101)]},
        {"metrics": [Metric("m", float(i), i, 0) for i in range(1001)]},
        {"metrics": [Metric("m", 1.0, 2**63, 0)]},
        {"metrics": [Metric("m", 1.0, 0, 2**63)]},
        {"metrics": [Metric("m", 1.0, 0, -1)]},
    ):
        with pytest.raises(InvalidInput) as caught:
            runs.log(run, **items)
        assert caught.value.fix


def test_long_values_are_cut_where_mlflow_cuts_them(runs, new_run, experiments) -> None:
    run = new_run()
    for end in ("", "x"):  # the same again, as far as it is kept
        runs.log(run, params=[("p", "x" * 6000 + end)], tags=[("mlflow.note.content", "y" * 9000)])
    found = runs.get(run)
    assert (found.params["p"], found.tags["mlflow.note.content"]) == ("x" * 6000, "y" * 8000)
    assert len(runs.update(run, name="n" * 9000).name) == 8000
    with pytest.raises(InvalidInput):
        experiments.set_tag(new_run.experiment, "k", "v" * 20_001)


def test_what_a_run_is_made_with_may_have_any_name(runs, new_run) -> None:
    given = {"a!": "1", "../up": "2", "note": "x" * 9000}
    run = new_run(**given)
    assert runs.get(run).tags.items() > given.items()
    runs.delete_tag(run, "a!")
    for name, value in (("", "v"), ("a" * 251, "v"), ("a\0b", "v"), ("a", "x" * 1_000_000)):
        with pytest.raises(InvalidInput):
            new_run(**{name: value})


def test_a_run_has_one_name(runs, new_run) -> None:
    assert runs.get(new_run("a", **{"mlflow.runName": "a"})).name == "a"
    with pytest.raises(InvalidInput, match="different values"):
        new_run("b", **{"mlflow.runName": "a"})


@pytest.mark.parametrize("order", ["dataset.name", "datasets.digest DESC"])
def test_what_has_no_order(runs, new_run, order: str) -> None:
    new_run()
    with pytest.raises(InvalidInput, match="can only be filtered by"):
        runs.search([new_run.experiment], "", [order], ACTIVE, PAGE)
    with pytest.raises(InvalidInput, match="more than 50"):
        runs.search([new_run.experiment], "", [f"metrics.m{i}" for i in range(51)], ACTIVE, PAGE)


def test_tags_go_and_come(runs, new_run) -> None:
    run = new_run()
    runs.log(run, tags=[("a", "1")])
    runs.log(run, tags=[("a", "2")])
    assert runs.get(run).tags["a"] == "2"
    runs.delete_tag(run, "a")
    with pytest.raises(NotFound):
        runs.delete_tag(run, "a")


def test_inputs_and_models_are_linked_once(runs, new_run) -> None:
    run = new_run()
    wine = DatasetInput("wine", "d1", "local", "{}", tags={"mlflow.data.context": "training"})
    for _ in range(2):
        runs.link(run, [wine], [ModelLink("m-1")], [ModelLink("m-2", 7)])
    found = runs.get(run)
    assert found.inputs == (wine,)
    assert found.models_read == (ModelLink("m-1"),)
    assert found.models_made == (ModelLink("m-2", 7),)


def test_the_search(runs, new_run) -> None:
    for i, rmse in enumerate([0.9, 0.5, math.nan, 0.7]):
        run = new_run(f"run {i}", minutes=i, kind="even" if i % 2 == 0 else "odd")
        runs.log(run, [Metric("rmse", rmse, 0, 0)], params=[("depth", str(i))])
    bare = new_run("bare", minutes=9)
    runs.link(
        bare,
        [DatasetInput("wine", "d", "local", "{}", tags={"mlflow.data.context": "eval"})],
    )

    def names(text: str | None = None, *order: str, **page: int) -> list[str]:
        found, _ = runs.search([new_run.experiment], text, order, ACTIVE, {**PAGE, **page})
        return [each.name for each in found]

    assert names() == ["bare", "run 3", "run 2", "run 1", "run 0"]
    assert names("metrics.rmse < 0.8") == ["run 3", "run 1"]
    assert names("metrics.rmse < 0.8 AND params.depth = '1'") == ["run 1"]
    assert names(None, "metrics.rmse ASC") == ["run 1", "run 3", "run 0", "run 2", "bare"]
    assert names(None, "metrics.rmse DESC") == ["run 0", "run 3", "run 1", "run 2", "bare"]
    assert names("tags.kind = 'odd'", "params.depth ASC") == ["run 1", "run 3"]
    assert names("tags.kind IS NULL") == ["bare"]
    assert names("params.depth IS NOT NULL", "start_time ASC", limit=2, offset=1) == [
        "run 1",
        "run 2",
    ]
    assert names("run_name LIKE 'run_1'") == ["run 1"]
    assert names("run_name ILIKE 'RUN%' and tags.kind != 'odd'") == ["run 2", "run 0"]
    assert names("dataset.name = 'wine' and dataset.context = 'eval'") == ["bare"]
    assert names(f"run_id IN ('{bare}')") == ["bare"]
    assert names(f"run_id NOT IN ('{bare}') and params.depth = '0'") == ["run 0"]
    assert names("attributes.status = 'FINISHED'") == []
    assert names(f"start_time > {int(NOW.timestamp() * 1000) + 60_000 * 3}") == ["bare"]
    assert names("params.depth = ''' OR 1=1 --'") == []  # a value, never SQL


def test_deleted_runs_are_seen_only_when_asked_for(runs, new_run) -> None:
    run = new_run()
    runs.delete(run)
    everything = [new_run.experiment]
    assert runs.search(everything, None, [], ACTIVE, PAGE)[0] == []
    found, _ = runs.search(everything, None, [], (Lifecycle.DELETED,), PAGE)
    assert [each.id for each in found] == [run]
    runs.restore(run)
    assert runs.get(run).lifecycle is Lifecycle.ACTIVE


@pytest.mark.parametrize("call", ["get", "delete", "restore"])
def test_unknown_runs(runs, call: str) -> None:
    with pytest.raises(NotFound):
        getattr(runs, call)("nothing")
    with pytest.raises(InvalidInput):
        runs.get("../etc")


def test_a_logged_model(store: Store, runs, new_run) -> None:
    desk = LoggedModelDesk(store.logged_models, store.experiments, SystemClock())
    run = new_run()
    made = desk.create(
        new_run.experiment, name="model", run_id=run, params=[("a", "1")], tags=[("k", "v")]
    )
    assert made.status is LoggedModelStatus.PENDING
    assert desk.finalize(made.id, LoggedModelStatus.READY).status is LoggedModelStatus.READY
    desk.set_tags(made.id, {"k": "w", "l": "x"})
    desk.delete_tag(made.id, "l")
    desk.add_params(made.id, [("b", "2"), ("c!", "x" * 7000)])
    desk.add_params(made.id, [("b", "2")])
    with pytest.raises(InvalidInput, match="not allowed"):
        desk.add_params(made.id, [("d", "4"), ("b", "3")])
    runs.log(run, [Metric("rmse", 0.5, 1, 2, model_id=made.id)])
    found = desk.get(made.id)
    assert (found.tags, found.params) == ({"k": "w"}, {"a": "1", "b": "2", "c!": "x" * 7000})
    assert [(point.key, point.value) for point in found.metrics] == [("rmse", 0.5)]

    def ids(text: str) -> list[str]:
        return [each.id for each in desk.search([new_run.experiment], text, [], 10, 0)[0]]

    assert ids("name = 'model' and metrics.rmse <= 0.5 and params.a = '1'") == [made.id]
    assert ids("tags.k = 'v'") == []
    desk.delete(made.id)
    with pytest.raises(NotFound):
        desk.get(made.id)
    with pytest.raises(InvalidInput):
        desk.create(None, name="a/b")


@pytest.fixture
def measured(store: Store, runs, new_run) -> Callable[..., list[str]]:
    """Names of the logged models that a search finds, of three with a metric and one without."""
    desk = LoggedModelDesk(store.logged_models, store.experiments, SystemClock())
    run = new_run()
    for i, data in enumerate(("iris", "iris", "other")):
        made = desk.create(new_run.experiment, name=f"m{i}", run_id=run)
        on = {"model_id": made.id, "dataset_name": data, "dataset_digest": f"{data}-1"}
        points = [Metric("acc", i / 10, 9, 1, **on), Metric("acc", 0.9 - i / 10, 5, 2, made.id)]
        runs.log(run, [*points, Metric("a b", float(i), 0, 1, made.id, "iris")])
    desk.create(new_run.experiment, name="none")

    def find(text: str = "", *orders: Order, datasets: Sequence[MeasuredOn] = ()) -> list[str]:
        found, _ = desk.search([new_run.experiment], text, orders, 10, 0, datasets=datasets)
        return [each.name for each in found]

    return find


def test_logged_models_by_a_metric(measured) -> None:
    def by(name: str, **how: Any) -> list[str]:
        return measured("", named_order(name, LOGGED_MODELS, **how))

    # the newest point by its time, whatever its step is; models without the metric come last
    assert by("metrics.acc", descending=True) == ["m0", "m1", "m2", "none"]
    assert by("metrics.acc") == ["m2", "m1", "m0", "none"]
    assert by("metrics.a b", descending=True) == ["m2", "m1", "m0", "none"]
    iris = MeasuredOn("iris", "iris-1")
    assert by("metrics.acc", descending=True, on=iris) == ["m1", "m0", "none", "m2"]
    assert by("metrics.acc", on=MeasuredOn("iris")) == ["m0", "m1", "none", "m2"]
    assert by("metrics.acc", on=MeasuredOn(None, "other-1"))[0] == "m2"


def test_logged_models_of_a_dataset(measured) -> None:
    iris, other = MeasuredOn("iris", "iris-1"), MeasuredOn("other", "other-1")
    above = "metrics.acc >= 0"
    assert sorted(measured(above, datasets=[iris])) == ["m0", "m1"]
    assert sorted(measured("metrics.acc > 0.5", datasets=[iris])) == []
    assert sorted(measured(above, datasets=[iris, other])) == ["m0", "m1", "m2"]
    assert sorted(measured(datasets=[iris])) == ["m0", "m1"]
    assert measured("name = 'm0'", datasets=[other]) == []
    assert measured(above, datasets=[MeasuredOn("unknown", "iris-1")]) == []
    assert measured(above, datasets=[MeasuredOn("iris")]) == []  # all were logged with a digest
    assert sorted(measured("metrics.`a b` >= 0", datasets=[MeasuredOn("iris")])) == [
        *("m0", "m1", "m2")
    ]


@pytest.mark.parametrize("others", [0, 90])
def test_a_search_along_a_metric_finds_the_same_however_many_others_there_are(
    runs: TrackedRunDesk, experiments: ExperimentDesk, others: int
) -> None:
    mine, elsewhere = experiments.create("mine").id, experiments.create("elsewhere").id
    for i in range(others):
        other = runs.create(elsewhere, name=f"o{i}", user="", started_at=NOW)
        runs.log(other.id, metrics=[Metric("rmse", 0.1, 0, 1)], params=[("depth", "1")])
    values = [0.3, 0.1, math.nan, 0.1, 0.2, 0.9, math.inf]
    for i, value in enumerate(values):
        made = runs.create(mine, name=f"m{i}", user="", started_at=NOW + timedelta(minutes=i))
        runs.log(made.id, metrics=[Metric("rmse", value, 0, 1)], params=[("depth", str(i % 2))])
    runs.create(mine, name="without", user="", started_at=NOW)

    def names(where: str, order: str, limit: int = 100, offset: int = 0) -> list[str]:
        page = {"limit": limit, "offset": offset}
        found, _ = runs.search([mine], where, [order], ACTIVE, page)
        return [run.name for run in found]

    assert names("metrics.rmse < 0.5", "metrics.rmse ASC") == ["m3", "m1", "m4", "m0"]
    assert names("metrics.rmse < 0.5", "metrics.rmse DESC") == ["m0", "m4", "m3", "m1"]
    assert names("metrics.rmse < 0.5", "metrics.rmse ASC", 2, 1) == ["m1", "m4"]
    both = "metrics.rmse > 0.1 AND metrics.rmse <= 0.9 AND params.depth = '1'"
    assert names(both, "metrics.rmse DESC") == ["m5"]
    assert names("metrics.rmse >= 0.1", "metrics.rmse DESC")[:2] == ["m6", "m5"]
