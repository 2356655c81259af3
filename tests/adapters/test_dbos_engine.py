"""What DbosEngine does beyond the contract of run engines."""

import logging
import sqlite3
import threading
import time

import pytest
import sqlalchemy as sa
from dbos import DBOS
from dbos._error import DBOSAwaitedWorkflowCancelledError, DBOSWorkflowCancelledError

from volant.adapters.dbos_engine.database import open_database
from volant.adapters.dbos_engine.engine import DbosEngine
from volant.adapters.dbos_engine.heartbeat import Heartbeat
from volant.domain.run import RunStatus
from volant.errors import Conflict, InvalidInput, ResourceExhausted, StepFailed, Unavailable
from volant.testing.engine_contract import (
    Runs,
    ScriptedExecutor,
    await_state,
    await_true,
    by_name,
    step,
)
from volant.workflows.plan import plan_workflow


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def build(tmp_path, runs):
    engines = []

    def make(executor, database=None, **options):
        url = database or f"sqlite:///{tmp_path}/runs.db"
        engines.append(
            DbosEngine(url, executor, tmp_path, runs.__getitem__, plan_workflow, **options)
        )
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def launch(build):
    def make(executor, *args, **options):
        engine = build(executor, *args, **options)
        engine.launch()
        return engine

    return make


@pytest.mark.parametrize(("progress", "ends"), [(True, "succeeded"), (False, "failed")])
def test_losses_with_progress_dont_add_up(launch, runs, monkeypatch, progress, ends):
    monkeypatch.setattr("volant.adapters.dbos_engine.work.MAX_LOSSES", 3)

    def lost(request):
        if request.attempt <= 6:
            details = {"lost": True, "progress": progress}
            raise StepFailed("the machine went away", "Wait.", details=details)
        return {}

    engine = launch(ScriptedExecutor(a=lost))
    engine.start(runs.make("run-1", step("a", retries=0)))
    state = await_state(engine, "run-1")
    assert (state.status.value, by_name(state)["a"].attempt) == (ends, 7 if progress else 4)


def test_a_step_is_not_lost_for_ever(launch, runs, monkeypatch):
    monkeypatch.setattr("volant.adapters.dbos_engine.work.MAX_PREEMPTIONS", 2)

    def lost(request):
        details = {"lost": True, "progress": True}
        raise StepFailed("the machine went away.", "Wait.", details=details)

    engine = launch(ScriptedExecutor(a=lost))
    engine.start(runs.make("run-1", step("a", retries=0)))
    state = await_state(engine, "run-1")
    assert state.status is RunStatus.FAILED
    assert "3 times" in by_name(state)["a"].error["what"]


def test_a_step_that_does_not_end_is_given_up(launch, runs):
    go = threading.Event()
    executor = ScriptedExecutor(a=lambda request: {"went": go.wait(30)})
    engine = launch(executor, timeout_grace_s=0.05)
    engine.start(runs.make("run-1", step("a", timeout_s=0.05)))
    error = await_state(engine, "run-1").error
    assert error["details"]["status"] == "timeout"
    go.set()


def test_a_step_within_its_time_gives_its_outputs_or_error(launch, runs):
    def fail(request):
        raise StepFailed("no luck", "Have some.")

    engine = launch(ScriptedExecutor(b=fail))
    engine.start(runs.make("run-1", step("a", inputs={"x": 1}, timeout_s=20)))
    engine.start(runs.make("run-2", step("b", timeout_s=20)))
    assert by_name(await_state(engine, "run-1"))["a"].outputs == {"x": 1}
    assert await_state(engine, "run-2").error["what"] == "no luck"


def test_what_comes_to_no_attempt_keeps_no_slot(launch, runs):
    engine = launch(ScriptedExecutor(), workers=1)
    for name in ("run-1", "run-2"):
        unwanted = step("b", "a", when="steps.a.outputs.wanted")
        engine.start(runs.make(name, step("a", inputs={"wanted": False}), unwanted))
        assert by_name(await_state(engine, name))["b"].status is RunStatus.SKIPPED
    broken = step("b", "a", inputs={"x": "{{ steps.a.outputs.y }}"})
    engine.start(runs.make("run-3", step("a"), broken))
    assert await_state(engine, "run-3").status is RunStatus.FAILED
    engine.start(runs.make("run-4", step("a")))
    assert await_state(engine, "run-4").status is RunStatus.SUCCEEDED


def test_a_commit_waits_for_a_busy_database(launch, runs):
    executor, asked = ScriptedExecutor(), []

    def busy(request, outputs):
        asked.append(request)
        if len(asked) == 1:
            raise Unavailable("The database is locked.", "Wait.")
        return outputs

    executor.commits["a"] = busy
    engine = launch(executor)
    engine.start(runs.make("run-1", step("a")))
    assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
    assert executor.performed == ["a"]


def test_the_end_of_a_run_is_told(launch, runs):
    told, trouble = [], [Unavailable("Locked.", "Wait."), ValueError("a defect")]

    def listen(run_id, status, error):
        told.append((run_id, status.value, error and error["what"]))
        if trouble:
            raise trouble.pop(0)

    def fail(request):
        raise StepFailed("no luck", "Have some.")

    engine = launch(ScriptedExecutor(b=fail), on_end=listen)
    engine.start(runs.make("run-1", step("a")))
    assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
    engine.start(runs.make("run-2", step("b")))
    assert await_state(engine, "run-2").status is RunStatus.FAILED
    ok = ("run-1", "succeeded", None)
    assert told == [ok, ok, ("run-2", "failed", "no luck")]


def test_a_cancellation_by_another_process_ends_the_work_here(launch, runs):
    told = threading.Event()
    executor = ScriptedExecutor(a=lambda request: {"went": told.wait(30)})
    engine = launch(executor, on_cancel=lambda run_id: told.set())
    engine.start(runs.make("run-1", step("a"), step("b", "a")))
    await_true(lambda: executor.performed)
    DBOS.cancel_workflow("run-1")  # not the step: as if its row came a moment too late
    assert told.wait(30)
    await_true(lambda: executor.performed == ["a"] and not engine._registry.snapshot())
    time.sleep(0.1)
    assert executor.committed == []
    assert engine.states(["run-1"])["run-1"].status is RunStatus.CANCELLED


def test_a_cancelled_run_is_no_error_in_the_log(launch, runs, caplog):
    told = threading.Event()
    executor = ScriptedExecutor(a=lambda request: {"went": told.wait(30)})
    engine = launch(executor, on_cancel=lambda run_id: told.set())
    engine.start(runs.make("run-1", step("a"), step("b", "a")))
    await_true(lambda: executor.performed)
    engine.cancel("run-1")
    assert await_state(engine, "run-1").status is RunStatus.CANCELLED
    engine.close()  # waits for the threads
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (DBOSAwaitedWorkflowCancelledError("run-1"), False),
        (DBOSWorkflowCancelledError("run-1"), False),
        (ValueError("a defect"), True),
        (None, True),
    ],
)
def test_what_else_dbos_tells_is_kept(caplog, error, kept):
    logging.getLogger("dbos").error("Exception encountered:", exc_info=error)
    assert bool(caplog.records) is kept


def test_cancel_reaches_a_step_that_waits_for_its_next_attempt(launch, runs):
    def fail(request):
        raise StepFailed("no luck", "Have some.")

    executor = ScriptedExecutor(a=fail)
    engine = launch(executor)
    engine.start(runs.make("run-1", step("a", retries=3, backoff_s=100)))
    await_true(lambda: executor.performed)
    engine.cancel("run-1")
    assert await_state(engine, "run-1").status is RunStatus.CANCELLED
    await_true(lambda: not any("run-1" in name for name in engine._boards))


def test_nothing_is_pickled_and_nothing_is_printed(launch, runs, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fail(request):
        raise ValueError("half a pair \ud800")

    engine = launch(ScriptedExecutor(b=fail))
    engine.start(runs.make("run-1", step("a", inputs={"x": float("nan")}), step("b")))
    state = await_state(engine, "run-1")
    assert by_name(state)["a"].outputs == {"x": "NaN"}
    assert by_name(state)["b"].error["what"] == "ValueError: half a pair ?"
    engine.close()
    assert capfd.readouterr() == ("", "")
    with sqlite3.connect(tmp_path / "runs.db") as db:
        for table in ("workflow_status", "operation_outputs"):
            kinds = db.execute(f"SELECT DISTINCT serialization FROM {table}").fetchall()
            assert kinds == [("portable_json",)]
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"runs", "runs.db"}


def test_closing_at_any_moment_loses_nothing(launch, runs):
    def brief(request):
        time.sleep(0.002)
        return {}

    names = ("a", "b", "c", "d")
    executor = ScriptedExecutor(**dict.fromkeys(names, brief))
    steps = (step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))
    for turn in range(12):
        engine = launch(executor, workers=2)
        for number in range(3):
            engine.start(runs.make(f"run-{turn:02}-{number}", *steps))
        time.sleep(0.007 * turn)
        engine.close()
    engine = launch(executor)
    for run_id in runs:
        assert await_state(engine, run_id).status is RunStatus.SUCCEEDED
    assert set(executor.committed) == set(names)


def test_one_engine_a_process(launch, build):
    launch(ScriptedExecutor())
    with pytest.raises(Conflict):
        build(ScriptedExecutor()).launch()


def test_an_engine_that_is_not_open_says_so(build, runs):
    engine = build(ScriptedExecutor())
    for call in (lambda: engine.start(runs.make("r", step("a"))), lambda: engine.states(["r"])):
        with pytest.raises(Unavailable):
            call()
    engine.close()
    engine.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite://"])
def test_databases_that_cannot_hold_runs_are_refused(url):
    with pytest.raises(InvalidInput):
        open_database(url)


def test_a_database_that_cannot_be_opened_is_unavailable(build, tmp_path):
    with pytest.raises(Unavailable):
        build(ScriptedExecutor(), f"sqlite:///{tmp_path}/missing/runs.db").launch()
    build(ScriptedExecutor()).launch()  # and the process isn't spoilt by it


def test_an_engine_that_is_given_is_used_as_it_is(launch, runs, tmp_path):
    engine = launch(ScriptedExecutor(), open_database(f"sqlite:///{tmp_path}/given.db"))
    engine.start(runs.make("run-1", step("a")))
    assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED


def test_states_of_many_runs_take_two_queries(launch, runs):
    engine = launch(ScriptedExecutor())
    for number in range(20):
        engine.start(runs.make(f"run-{number}", step("a"), step("b", "a")))
    for number in range(20):
        await_state(engine, f"run-{number}")
    selects = []

    def count(connection, cursor, statement, *_):
        mine = threading.current_thread() is threading.main_thread()
        if mine and "workflow_status" in statement:
            selects.append(statement)

    sa.event.listen(engine._engine, "before_cursor_execute", count)
    states = engine.states([f"run-{number}" for number in range(20)])
    sa.event.remove(engine._engine, "before_cursor_execute", count)
    assert list(states) == [f"run-{number}" for number in range(20)]
    assert len(selects) == 2


def test_peers_that_notice_at_once_move_a_dead_workers_runs_once(launch, runs, tmp_path):
    go = threading.Event()
    executor = ScriptedExecutor(a=lambda request: {"went": go.wait(30)})
    engine = launch(executor, executor_id="alive", heartbeat_s=60.0)
    for number in range(3):
        engine.start(runs.make(f"run-{number}", step("a")))
    await_true(lambda: len(executor.performed) == 3)
    database = open_database(f"sqlite:///{tmp_path}/runs.db")
    # As if another worker had them, and died: the one that is alive may take what is moved.
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE workflow_status SET executor_id = 'dead'"))
    peers = [
        Heartbeat(database, name, lambda: None, every_s=60, dead_after_s=60)
        for name in ("peer-1", "peer-2")
    ]
    for peer in peers:
        peer.start()
    moved, meeting = [], threading.Barrier(2)

    def take_over(peer):
        meeting.wait()
        moved.extend(peer.take_over())

    threads = [threading.Thread(target=take_over, args=(peer,)) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == sorted(
        name for number in range(3) for name in (f"run-{number}", f"run-{number}:a")
    )
    go.set()
    for peer in peers:
        peer.leave()
    for number in range(3):
        assert await_state(engine, f"run-{number}").status is RunStatus.SUCCEEDED
    database.dispose()


def test_a_living_worker_keeps_its_runs(tmp_path, launch, runs):
    go = threading.Event()
    executor = ScriptedExecutor(a=lambda request: {"went": go.wait(30)})
    engine = launch(executor, executor_id="alive", heartbeat_s=60.0)
    engine.start(runs.make("run-1", step("a")))
    await_true(lambda: executor.performed)
    database = open_database(f"sqlite:///{tmp_path}/runs.db")
    peer = Heartbeat(database, "peer", lambda: None, every_s=60, dead_after_s=60)
    peer.start()
    assert peer.take_over() == []
    peer.leave()
    go.set()
    assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
    database.dispose()


def test_work_goes_on_once_the_database_takes_writes_again(launch, runs, tmp_path):
    """As after a full disk: the record of what was done can't be stored for a while."""
    database = open_database(f"sqlite:///{tmp_path}/runs.db")
    full = threading.Event()

    @sa.event.listens_for(database, "before_cursor_execute")
    def refuse(connection, cursor, statement, *_):
        if full.is_set() and statement.startswith(("INSERT", "UPDATE")):
            cause = sqlite3.OperationalError("database or disk is full")
            raise sa.exc.OperationalError(statement, None, cause)

    def fill(request):
        full.set()
        return {"done": len(executor.performed)}

    executor = ScriptedExecutor(a=fill)
    engine = launch(executor, database, mend_s=0.1)
    engine.start(runs.make("run-1", step("a")))
    await_true(full.is_set)
    with pytest.raises(ResourceExhausted):
        engine.start(runs.make("run-2", step("b")))
    executor.scripts["a"] = lambda request: {"done": True}
    full.clear()
    assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
    engine.start(runs.make("run-2", step("b")))
    assert await_state(engine, "run-2").status is RunStatus.SUCCEEDED
    engine.close()
    database.dispose()


def test_threads_take_turns_at_writing(tmp_path):
    """Each transaction reads, waits and writes: without turns most would find the file locked,
    whose waiting is turned off here."""
    database = open_database(f"sqlite:///{tmp_path}/turns.db")
    with database.begin() as connection:
        connection.execute(sa.text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO counts VALUES (0)"))

    def add():
        for turn in range(20):
            with database.connect() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                connection.execute(sa.text("UPDATE counts SET n = n + 1"))
                time.sleep(0.001)
                # What is rolled back, or only given back, leaves its turn too.
                (connection.commit, connection.rollback, lambda: None)[turn % 3]()

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.connect() as connection:
        assert connection.execute(sa.text("SELECT n FROM counts")).scalar() == 8 * 7
    database.dispose()


def test_a_long_list_repeats_nothing_of_it_for_each_element(launch, runs, tmp_path):
    engine = launch(ScriptedExecutor(a=lambda request: {"items": ["x" * 1000] * 60}))
    each = step("each", foreach="{{ steps.a.outputs.items }}", inputs={"x": "{{ item }}"})
    engine.start(runs.make("run-1", step("a"), each))
    found = by_name(await_state(engine, "run-1"))["each"]
    assert found.outputs == {"x": ["x" * 1000] * 60}
    engine.close()
    with sqlite3.connect(tmp_path / "runs.db") as db:
        query = "SELECT max(length(inputs)) FROM workflow_input WHERE workflow_uuid LIKE ?"
        assert db.execute(query, ("run-1:each/%",)).fetchone()[0] < 1000


def test_a_forgotten_run_leaves_no_rows(launch, runs, tmp_path):
    engine = launch(ScriptedExecutor())
    for name in ("run-1", "run-2"):
        engine.start(runs.make(name, step("a"), step("each", foreach="[1, 2]")))
        await_state(engine, name)
    engine.forget(["run-1", "run-2"])
    engine.close()
    with sqlite3.connect(tmp_path / "runs.db") as db:
        for table in ("workflow_status", "workflow_input", "workflow_output", "operation_outputs"):
            query = f"SELECT count(*) FROM {table} WHERE workflow_uuid LIKE 'run-%'"
            assert db.execute(query).fetchone() == (0,), table
