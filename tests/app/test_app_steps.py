"""What steps store in the control plane, on a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from volant.adapters.system import SystemClock
from volant.app.steps import Steps
from volant.domain.run import StepRequest, StepSpecRef
from volant.domain.tracking import Lifecycle
from volant.store import Store, sqlite_url
from volant.tracking.desk import TrackingDesk
from volant.tracking.experiments import ExperimentDesk

TRAINED: dict[str, Any] = {
    "code_hash": "c",
    "environment_hash": "e",
    "params": {},
    "metrics": {"rmse": 0.5},
    "history": [],
    "fit_s": 1.0,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(sqlite_url(tmp_path / "volant.db")) as opened:
        opened.migrate()
        yield opened


def steps_of(store: Store) -> Steps:
    run = SimpleNamespace(
        workflow=SimpleNamespace(inputs={"dataset": "wine", "dataset_version": 1})
    )
    rooms: Any = SimpleNamespace(
        store=SimpleNamespace(runs=SimpleNamespace(get=lambda _run_id: run)),
        tracking=TrackingDesk(tracking=store.tracking),
        clock=SystemClock(),
    )
    searches: Any = SimpleNamespace(perform=lambda _request, _tags: {})
    return Steps(rooms, searches)


def request(folder: Path, run_id: str, uses: str) -> StepRequest:
    return StepRequest(run_id, StepSpecRef(uses, uses=uses), {}, 1, folder / run_id, loop="wine")


@pytest.mark.parametrize("uses", ["train", "tune"])
def test_a_run_restores_its_loops_deleted_experiment_and_says_so(
    store: Store, tmp_path: Path, uses: str
) -> None:
    steps = steps_of(store)
    first = request(tmp_path, "run-1", "train")
    steps.track(first, TRAINED)
    assert not first.workdir.exists()  # nothing to say
    experiment = store.experiments.by_name("wine")
    ExperimentDesk(store.experiments).delete(experiment.id)

    second = request(tmp_path, "run-2", uses)
    if uses == "train":
        steps.track(second, TRAINED)
    else:
        steps.tune(second)
    (found,) = store.experiment_summaries.page(5, name="wine")[0]
    assert found.experiment.id == experiment.id
    assert found.runs == (2 if uses == "train" else 1)
    assert store.tracking.get_run(TrackingDesk(tracking=store.tracking).get("run-1").id)
    assert store.experiments.get(experiment.id).lifecycle is Lifecycle.ACTIVE
    (line,) = map(json.loads, (second.workdir / "log.jsonl").read_text().splitlines())
    assert line["text"].startswith("The experiment 'wine' was deleted. It is restored")
