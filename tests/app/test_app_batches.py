"""Which run a request for a batch is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from volant.app import batches
from volant.app.batches import Batches
from volant.domain.dataset import PushStatus
from volant.domain.run import Run, RunState, RunStatus, StepState
from volant.errors import Conflict, NotFound


class World:
    """Runs that are as they are told to be, and pushes by id."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lanes: int) -> None:
        self.runs: dict[str, Run] = {}
        self.states: dict[str, RunState] = {}
        self.resumed: list[str] = []
        self.pushes: dict[str, PushStatus] = {}
        self.asked: dict[str, Any] = {}
        model = SimpleNamespace(model="m", version=1)
        monkeypatch.setattr(batches, "servable", lambda found: found)
        monkeypatch.setattr(batches, "version_of", lambda *_: model)
        store = SimpleNamespace(
            runs=SimpleNamespace(get=self._get), pushes=SimpleNamespace(get=self._push)
        )
        desk = SimpleNamespace(
            start=self._start,
            get=lambda run_id: (self.runs[run_id], self.states[run_id]),
            resume=self.resumed.append,
        )
        clock = SimpleNamespace(now=lambda: datetime.now(UTC))
        self.batches = Batches(
            cast("Any", store), cast("Any", None), cast("Any", desk), cast("Any", clock), lanes
        )

    def start(self, source: Path, output: object, **more: Any) -> tuple[str, Run]:
        given = {"input": str(source), "output": str(output), "overwrite": False, **more}
        found = self.batches.start("m", given, "me")
        return found["state"], found["run"]

    def end(self, run: Run, status: RunStatus, **outputs: Any) -> None:
        step = StepState("batch", status, outputs=outputs)
        self.states[run.id] = RunState(run.id, status, (step,))

    def _get(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise NotFound("There is none.", "Start it.")
        return self.runs[run_id]

    def _push(self, push_id: str) -> Any:
        if push_id not in self.pushes:
            raise NotFound("There is none.", "Make it.")
        return SimpleNamespace(status=self.pushes[push_id])

    def _start(self, run: Run) -> Run:
        self.runs[run.id] = run
        return run


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, 2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("x\n1\n")
    return path


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(PushStatus.COMMITTED, "done"), (PushStatus.REJECTED, "started"), (None, "started")],
)
def test_a_dataset_has_the_rows_if_its_push_was_committed(
    world: World, source: Path, verdict: PushStatus | None, state: str
) -> None:
    _, first = world.start(source, "dataset:scored")
    world.end(first, RunStatus.SUCCEEDED, push="push-1")
    if verdict is not None:
        world.pushes["push-1"] = verdict
    again, run = world.start(source, "dataset:scored")
    assert (again, run.id == first.id) == (state, state == "done")


def test_a_batch_without_a_predicted_row_is_done_without_a_push(world: World, source: Path) -> None:
    _, first = world.start(source, "dataset:scored")
    world.end(first, RunStatus.SUCCEEDED, predicted=0)
    assert world.start(source, "dataset:scored") == ("done", first)
    world.end(first, RunStatus.SUCCEEDED, predicted=0, push=None)
    assert world.start(source, "dataset:scored") == ("done", first)


def test_a_file_that_was_deleted_is_made_again(world: World, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    _, first = world.start(source, target)
    world.end(first, RunStatus.SUCCEEDED)
    assert world.start(source, target)[0] == "started"
    world.end(first, RunStatus.FAILED)
    assert world.start(source, target) == ("resumed", first)
    assert world.resumed == [first.id]


@pytest.mark.parametrize("name", ["out.csv", "out.csv.rejected"])
def test_what_is_there_stays(world: World, source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(Conflict, match=f"{name} is there already"):
        world.start(source, tmp_path / "out.csv")
    assert world.start(source, tmp_path / "out.csv", overwrite=True)[0] == "started"


def test_pushes_find_a_place_beside_the_batches_that_wait_for_them(
    world: World, source: Path, tmp_path: Path
) -> None:
    keys = {world.start(source, f"dataset:d{n}")[1].queue_key for n in range(50)}
    assert len(keys) == 2
    files = {world.start(source, tmp_path / f"{n}.csv")[1].queue_key for n in range(5)}
    assert len(files) == 5
