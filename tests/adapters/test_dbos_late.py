"""When the engine of runs is opened."""

import threading

import pytest

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.adapters.dbos_engine.late import LateEngine
from volant.domain.run import RunStatus
from volant.errors import Unavailable
from volant.testing.engine_contract import Runs, ScriptedExecutor, await_state, step
from volant.workflows.plan import plan_workflow


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def make(tmp_path, runs):
    made = []

    def one():
        made.append(
            LateEngine(
                f"sqlite:///{tmp_path}/runs.db",
                tmp_path,
                executor=ScriptedExecutor(),
                load_run=runs.__getitem__,
                plan=plan_workflow,
            )
        )
        return made[-1]

    yield one
    for engine in made:
        engine.close()


def test_nothing_is_opened_before_the_first_run(make, runs, tmp_path):
    engine = make()
    engine.launch()
    assert engine.states([]) == {}
    engine.forget([])
    assert not (tmp_path / "runs.db").exists()
    run = runs.make("r1", step("a"))
    engine.start(run)
    assert await_state(engine, run.id).status is RunStatus.SUCCEEDED


def test_where_runs_were_it_is_opened_at_once(make, runs, monkeypatch):
    first = make()
    first.launch()
    first.start(runs.make("r1", step("a")))
    first.close()
    launched = threading.Event()
    launch = DbosEngine.launch
    monkeypatch.setattr(DbosEngine, "launch", lambda self: (launch(self), launched.set()))
    make().launch()
    assert launched.is_set()


def test_warm_opens_in_the_background(make, tmp_path, monkeypatch):
    launched = threading.Event()
    launch = DbosEngine.launch
    monkeypatch.setattr(DbosEngine, "launch", lambda self: (launch(self), launched.set()))
    engine = make()
    engine.warm()  # before the launch it means nothing
    engine.launch()
    engine.warm()
    assert launched.wait(20)


def test_before_its_launch_and_after_its_end_it_refuses(make, runs):
    engine = make()
    with pytest.raises(Unavailable, match="isn't open"):
        engine.start(runs.make("r1", step("a")))
    engine.launch()
    engine.close()
    with pytest.raises(Unavailable, match="isn't open"):
        engine.states(["x"])


def test_a_database_that_cant_be_used_is_told_at_every_call(make, runs, tmp_path):
    engine = make()
    engine.launch()
    (tmp_path / "runs.db").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(Unavailable, match="not a database"):
            engine.start(runs.make("r1", step("a")))
    (tmp_path / "runs.db").unlink()
    run = runs.make("r1", step("a"))
    engine.start(run)
    assert await_state(engine, run.id).status is RunStatus.SUCCEEDED
