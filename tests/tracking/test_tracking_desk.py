from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volant.domain.tracking import TrackedRun, TrackingStatus
from volant.errors import NotFound
from volant.store.engine import sqlite_url
from volant.store.records import Store
from volant.tracking.desk import TrackingDesk, TrainingFacts, tracking_id

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(seconds=30)
FACTS = TrainingFacts("run-1", "wine", "wine-data", 3, "c" * 64, "e" * 64)


@pytest.fixture
def desk(store: Store) -> TrackingDesk:
    return TrackingDesk(tracking=store.tracking)


def record(desk: TrackingDesk, facts: TrainingFacts = FACTS, **changes: Any) -> TrackedRun:
    given: dict[str, Any] = {
        "params": {"model": {"kind": "lightgbm", "depth": 3}, "columns": ["a", "b"], "empty": {}},
        "metrics": {"cv_rmse": 0.5, "cv_r2": 0.8},
        "history": [{"key": "cv_rmse", "value": v, "step": i} for i, v in enumerate([0.9, 0.5])],
        "artifact_uri": "artifacts:/models/wine/run-1",
        "started_at": START,
        "ended_at": END,
    }
    return desk.record(facts, **{**given, **changes})


def test_a_training_is_recorded_in_mlflows_words(desk: TrackingDesk, store: Store) -> None:
    run = record(desk)
    assert re.fullmatch("[0-9a-f]{32}", run.id)
    assert run.experiment_id == store.tracking.experiment("wine").id
    assert run.status is TrackingStatus.FINISHED
    assert (run.started_at, run.ended_at) == (START, END)
    assert run.artifact_uri == "artifacts:/models/wine/run-1"
    assert run.params == {
        "model.kind": "lightgbm",
        "model.depth": "3",
        "columns": '["a", "b"]',
        "empty": "{}",
    }
    assert run.metrics == {"cv_rmse": 0.5, "cv_r2": 0.8}
    assert run.tags["mlflow.source.type"] == "JOB"
    assert run.tags["mlflow.source.name"] == "loop wine"
    assert run.tags["volant.run_id"] == "run-1"
    assert run.tags["volant.data_version"] == "3"
    assert run.tags["volant.code_hash"] == "c" * 64
    assert run.tags["volant.environment_hash"] == "e" * 64
    assert [(m.step, m.value) for m in desk.history(run.id, "cv_rmse")] == [(0, 0.9), (1, 0.5)]
    assert [(m.step, m.value) for m in desk.history(run.id, "cv_r2")] == [(0, 0.8)]
    assert desk.history(run.id, "other") == []


def test_the_same_run_is_recorded_once(desk: TrackingDesk) -> None:
    first = record(desk)
    assert record(desk, params={"other": 1}, metrics={"cv_rmse": 9}) == first
    assert len(desk.history(first.id, "cv_rmse")) == 2


def test_it_is_found_by_either_id(desk: TrackingDesk) -> None:
    run = record(desk)
    assert desk.get(run.id) == desk.get("run-1") == run
    assert desk.history("run-1", "cv_rmse") == desk.history(run.id, "cv_rmse")
    with pytest.raises(NotFound, match="no tracked run 'run-2'"):
        desk.get("run-2")
    with pytest.raises(NotFound):
        desk.history("run-2", "cv_rmse")


def test_a_callable_and_further_tags_are_told(desk: TrackingDesk) -> None:
    facts = TrainingFacts("run-2", "wine", "d", 1, "c", "e", call="train:fit")
    run = record(desk, facts, tags={"team": "x", "volant.run_id": "forged"})
    assert run.tags["mlflow.source.name"] == "train:fit"
    assert run.tags["mlflow.source.type"] == "PROJECT"
    assert run.tags["team"] == "x"
    assert run.tags["volant.run_id"] == "run-2"


def test_values_that_are_not_finite_are_told_in_a_tag(desk: TrackingDesk) -> None:
    history = [{"key": "loss", "value": v, "step": i} for i, v in enumerate([1.0, math.nan])]
    run = record(desk, metrics={"loss": math.inf, "rmse": 1.0}, history=history)
    assert run.metrics == {"loss": 1.0, "rmse": 1.0}
    assert run.tags["volant.not_finite"] == "loss"


def test_a_final_value_that_was_not_measured_on_the_way_comes_last(desk: TrackingDesk) -> None:
    run = record(desk, metrics={"cv_rmse": 0.4})
    assert run.metrics == {"cv_rmse": 0.4}
    assert [m.value for m in desk.history(run.id, "cv_rmse")] == [0.9, 0.5, 0.4]


def test_long_values_are_cut_to_mlflows_limits(desk: TrackingDesk) -> None:
    run = record(desk, params={"p": "x" * 9000, "k" * 999: 1})
    assert len(run.params["p"]) == 6000
    assert {len(key) for key in run.params} == {1, 250}


def test_tracking_ids_tell_runs_apart() -> None:
    assert tracking_id("run-1") == tracking_id("run-1") != tracking_id("run-2")


_keys = st.sampled_from(["a", "b", "c"])
_floats = st.floats()


@contextmanager
def fresh(migrated: Path, tmp_path: Path) -> Iterator[TrackingDesk]:
    path = tmp_path / "each.db"
    path.write_bytes(migrated.read_bytes())
    with Store(sqlite_url(path)) as store:
        yield TrackingDesk(tracking=store.tracking)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(_keys, _floats),
    st.lists(
        st.fixed_dictionaries({"key": _keys, "value": _floats, "step": st.integers(0, 5)}),
        max_size=8,
    ),
)
def test_the_latest_value_is_always_the_final_one(
    migrated: Path, tmp_path: Path, metrics: dict[str, float], history: list[dict[str, Any]]
) -> None:
    with fresh(migrated, tmp_path) as desk:
        run = record(desk, metrics=metrics, history=history)
    for key, value in metrics.items():
        if math.isfinite(value):
            assert run.metrics[key] == value
    measured = {item["key"] for item in history} | set(metrics)
    assert set(run.metrics) <= measured
