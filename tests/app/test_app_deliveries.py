"""A batch's step ends as its push does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from volant.app import deliveries
from volant.app.deliveries import Deliveries
from volant.domain.dataset import Push, PushStatus, run_id_of
from volant.domain.run import RunState, RunStatus, StepRequest, StepSpecRef
from volant.errors import Conflict, NotFound, StepFailed
from volant.workflows.uses import USES

OUTPUTS = {"dataset": "scored", "file": "scored.parquet", "predicted": 3, "rows": 3}
OWN = "batch-1"


class World:
    """Pushes, and runs by id; `wait` is what happens while someone waits."""

    def __init__(self, folder: Path) -> None:
        self.known: dict[str, Push] = {}
        self.keys: list[str] = []
        self.states = {OWN: RunState(OWN, RunStatus.RUNNING)}
        self.wait: Callable[[], None] = lambda: None
        self.time = 0.0
        self.asked = 0  # for runs
        rooms = SimpleNamespace(
            store=SimpleNamespace(pushes=SimpleNamespace(get=self.push, page=self._page)),
            desks=SimpleNamespace(runs=SimpleNamespace(get=self.run)),
            deliver=self._deliver,
        )
        self.deliveries = Deliveries(cast("Any", rooms), self._pause, lambda: self.time)
        self.request = StepRequest(OWN, StepSpecRef("score"), {}, 1, folder / "score")

    def deliver(self, **more: Any) -> dict[str, Any]:
        return dict(self.deliveries.deliver(self.request, {**OUTPUTS, **more}))

    def push(self, push_id: str) -> Push:
        if push_id not in self.known:
            raise NotFound("There is none.", "Make it.")
        return self.known[push_id]

    def run(self, run_id: str) -> tuple[None, RunState]:
        self.asked += 1
        if run_id not in self.states:
            raise NotFound("There is none.", "Start it.")
        return None, self.states[run_id]

    def other(self, status: RunStatus) -> None:
        """How the run of an older push to the same dataset is."""
        push = Push("other", "scored", "file", (), PushStatus.RECEIVED, datetime.now(UTC))
        self.known = {"other": push, **self.known}
        self.states[run_id_of("other")] = RunState(run_id_of("other"), status)

    def _page(
        self, dataset: str, limit: int, before: str | None = None
    ) -> tuple[list[Push], str | None]:
        """One at a time, the newest first."""
        newest = [*reversed(self.known.values())]
        assert {push.dataset for push in newest} == {dataset}
        place = int(before or 0)
        return newest[place : place + 1], str(place + 1) if place + 1 < len(newest) else None

    def judge(self, status: str, **more: Any) -> None:
        """The newest push's verdict."""
        newest = [*self.known][-1]
        told = {"rows_added": 2, "rows_quarantined": 1, **more}
        if status == "rejected":
            told = {"reason": "It knows no prediction."}
        self.known[newest] = Push(
            newest, "scored", "batch", (), PushStatus(status), datetime.now(UTC), **told
        )

    def stand(self, status: RunStatus, error: dict[str, Any] | None = None) -> None:
        """How the newest push's run is."""
        run_id = run_id_of([*self.known][-1])
        self.states[run_id] = RunState(run_id, status, error=error)

    def _deliver(self, dataset: str, file: Path, key: str) -> Push:
        self.keys.append(key)
        found = self.known.setdefault(
            f"push-{key}",
            Push(f"push-{key}", dataset, "batch", (), PushStatus.RECEIVED, datetime.now(UTC)),
        )
        assert str(file) == "scored.parquet"
        return found

    def _pause(self, seconds: float) -> None:
        self.time += seconds
        self.wait()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_to_push(world: World) -> None:
    for found in (world.deliver(dataset=None), world.deliver(predicted=0)):
        assert found["rows"] == 3
        assert (found["push"], found["dataset_version"]) == (None, None)
        assert (found["rows_added"], found["rows_quarantined"]) == (0, 0)
    assert world.keys == []


def test_a_manifest_knows_all_that_is_told(world: World) -> None:
    world.wait = lambda: world.judge("committed", version=4)
    told = world.deliver()
    assert told.keys() == world.deliver(dataset=None).keys()
    assert told.keys() <= set(USES["batch"] or ())


def test_it_ends_with_the_version_that_has_the_predictions(world: World) -> None:
    world.wait = lambda: world.judge("committed", version=4)
    found = world.deliver()
    assert found["push"] == "push-batch-1:score"
    assert (found["dataset_version"], found["rows_added"], found["rows_quarantined"]) == (4, 2, 1)
    assert world.deliver() == found
    assert world.keys == ["batch-1:score"]


def test_predictions_that_a_dataset_refuses_fail_the_step(world: World) -> None:
    world.wait = lambda: world.judge("rejected")
    with pytest.raises(StepFailed, match="refused the predictions: It knows no prediction") as told:
        world.deliver()
    assert told.value.error_code == "batch_push_rejected"
    # Whoever resumes the run pushes again: the contract may be another by now.
    world.wait = lambda: world.judge("committed", version=1)
    assert world.deliver()["push"] == "push-batch-1:score:2"
    assert world.deliver()["push"] == "push-batch-1:score:2"
    assert world.keys == ["batch-1:score", "batch-1:score:2"]


def test_a_push_s_run_that_ends_without_a_verdict(world: World) -> None:
    world.wait = lambda: world.stand(RunStatus.FAILED, {"what": "The disk is full."})
    with pytest.raises(StepFailed, match=r"ended without a verdict: The disk is full\.") as told:
        world.deliver()
    assert "volant runs resume run-push-batch-1:score" in told.value.fix


def test_a_cancelled_run_waits_no_longer(world: World) -> None:
    def cancel() -> None:
        world.states[OWN] = RunState(OWN, RunStatus.CANCELLED)

    world.wait = cancel
    with pytest.raises(Conflict, match="is cancelled"):
        world.deliver()


def test_a_push_that_finds_no_place_is_given_up_and_one_under_way_is_not(world: World) -> None:
    with pytest.raises(StepFailed, match="other runs have every place"):
        world.deliver()
    assert world.time == pytest.approx(deliveries._PATIENCE_S, abs=3)
    world.stand(RunStatus.RUNNING)
    until = world.time + 10 * deliveries._PATIENCE_S

    def work() -> None:
        if world.time > until:
            world.judge("committed", version=1)

    world.wait = work
    assert world.deliver()["dataset_version"] == 1
    assert world.keys == ["batch-1:score"]


def test_a_push_that_waits_for_another_one_to_its_dataset_is_not_given_up(world: World) -> None:
    world.other(RunStatus.RUNNING)
    until = 10 * deliveries._PATIENCE_S

    def work() -> None:
        world.stand(RunStatus.QUEUED)
        if world.time > until:
            world.judge("committed", version=2)

    world.wait = work
    assert world.deliver()["dataset_version"] == 2


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.FAILED])
def test_another_push_that_is_not_at_work_is_nothing_to_wait_for(
    world: World, status: RunStatus
) -> None:
    world.other(status)
    world.wait = lambda: world.stand(RunStatus.QUEUED)
    with pytest.raises(StepFailed, match="every place"):
        world.deliver()
    assert world.time == pytest.approx(deliveries._PATIENCE_S, abs=3)


def test_the_more_wait_the_less_often_each_one_looks(world: World) -> None:
    pauses: list[float] = []

    def wait() -> None:
        world.stand(RunStatus.RUNNING)
        pauses.append(world.time - sum(pauses))
        if len(pauses) == 100:
            world.judge("committed", version=1)

    world.wait = wait
    world.deliver()
    assert max(pauses) == pytest.approx(deliveries._LOOK_S)
    assert world.asked == 2 * 100 / deliveries._RUNS_EVERY  # the push's run, and its own

    world.known.clear()
    world.deliveries._waiting, world.time = 3, 0.0  # that many others
    pauses.clear()
    world.request = replace(world.request, workdir=world.request.workdir / "other")
    world.deliver()
    assert min(pauses) == pytest.approx(4 * deliveries._LOOK_S)


def test_those_that_wait_behind_others_are_more_patient(world: World) -> None:
    def second() -> None:
        world.wait = lambda: None
        began = world.time
        with pytest.raises(StepFailed, match="every place"):
            world.deliver()
        assert world.time - began == pytest.approx(2 * deliveries._PATIENCE_S, abs=3)

    world.wait = second
    with pytest.raises(StepFailed, match="every place"):
        world.deliver()
