"""Kill −9 at every kind of moment: the runs end, and every effect is there once."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from volant.testing.postgres import find_postgres, postgres_server

CHILD = Path(__file__).parent / "dbos_kill_child.py"
STEPS = ("first", "left", "right", "join", "last")


def mostly_slow(name, first, *others):
    """One case in the default suite, the others in the slow one."""
    slow = [pytest.param(value, marks=pytest.mark.slow) for value in others]
    return pytest.mark.parametrize(name, [first, *slow])


@pytest.fixture(scope="module")
def children():
    """Runs a child to its end; see dbos_kill_child.py."""
    with subprocess.Popen(
        [sys.executable, str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(home, kill=None, after_s=None, shared=(), **more):
            order = {"home": str(home), "kill": kill, "after_s": after_s, "shared": shared, **more}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def check(home, seed=None):
    """Both runs succeeded; each commit left one effect and the outputs name it."""
    report = json.loads((home / "states.json").read_text())
    with sqlite3.connect(home / "effects.db") as db:
        rows = db.execute("SELECT id, run, step FROM effects").fetchall()
        calls = Counter(db.execute("SELECT run, step, what FROM calls").fetchall())
    effects = {(run, step): key for key, run, step in rows}
    assert set(effects) == {(run, step) for run in report for step in STEPS}, seed
    for run, steps in report.items():
        assert steps.pop("never")[0] == "skipped", seed
        for name, (status, outputs) in steps.items():
            assert status == "succeeded", (seed, run, name)
            assert outputs["effect"] == effects[run, name], (seed, run, name)
        assert steps["last"][1]["n"] == "11", seed
    return calls


def test_without_a_kill_everything_is_done_once(children, tmp_path):
    assert children(tmp_path) == 0
    calls = check(tmp_path)
    assert calls["run-1", "right", "perform"] == 2  # its first attempt fails
    del calls["run-1", "right", "perform"], calls["run-2", "right", "perform"]
    assert set(calls.values()) == {1}


@mostly_slow("step", "join", "first", "left", "last")
def test_killed_in_perform_only_that_is_done_again(children, tmp_path, step):
    assert children(tmp_path, f"perform run-1 {step}") == -9
    assert children(tmp_path, f"perform run-1 {step}") == 0
    calls = check(tmp_path)
    assert calls["run-1", step, "perform"] == 2
    assert calls["run-1", step, "commit"] == 1
    if step in ("join", "last"):
        assert calls["run-1", "first", "perform"] == 1
        assert calls["run-1", "left", "perform"] == 1


@mostly_slow("step", "right", "first", "last")
def test_killed_between_perform_and_commit_the_work_is_kept(children, tmp_path, step):
    assert children(tmp_path, f"before commit run-1 {step}") == -9
    assert children(tmp_path) == 0
    calls = check(tmp_path)
    assert calls["run-1", step, "perform"] == (2 if step == "right" else 1)
    assert calls["run-1", step, "commit"] == 1


@mostly_slow("step", "left", "first", "last")
def test_killed_in_commit_the_effect_is_there_once(children, tmp_path, step):
    assert children(tmp_path, f"in commit run-1 {step}") == -9
    assert children(tmp_path) == 0
    calls = check(tmp_path)
    assert calls["run-1", step, "perform"] == 1
    assert calls["run-1", step, "commit"] == 2


@pytest.mark.parametrize("moment", ["before", "in"])
def test_what_took_a_moment_is_done_again_and_its_effect_is_there_once(children, tmp_path, moment):
    assert children(tmp_path, f"{moment} commit run-1 left", work_s=0.0) == -9
    assert children(tmp_path) == 0
    calls = check(tmp_path)
    assert calls["run-1", "left", "perform"] == 2
    assert calls["run-1", "first", "perform"] == 1


@mostly_slow("asked", 7, 1, 4, 12, 17)
def test_killed_in_the_loop_of_a_run(children, tmp_path, asked):
    assert children(tmp_path, f"loop {asked}") == -9
    assert children(tmp_path) == 0
    check(tmp_path)


ELEMENTS = [f"each/{index}" for index in range(5)]


def check_fan(home, seed=None):
    """As `check`, for the workflow with `foreach`, whose second run takes a step over."""
    report = json.loads((home / "states.json").read_text())
    with sqlite3.connect(home / "effects.db") as db:
        effects = db.execute("SELECT run, step FROM effects").fetchall()
        calls = Counter(db.execute("SELECT run, step, what FROM calls").fetchall())
        kept = db.execute("SELECT run, step FROM kept").fetchall()
    wanted = {(run, step) for run in ("run-1", "run-2") for step in [*ELEMENTS, "last"]}
    assert len(effects) == len(set(effects)), seed
    assert set(effects) == {*wanted, ("run-1", "first")}, seed
    assert kept == [("run-1", "first")], seed
    for steps in report.values():
        assert [status for status, _ in steps.values()] == ["succeeded"] * 3, seed
        assert steps["each"][1]["n"] == ["12", "13", "14", "15", "16"], seed
        assert steps["last"][1]["n"] == ["12", "13", "14", "15", "16"], seed
    return calls


def test_without_a_kill_each_element_is_done_once(children, tmp_path):
    assert children(tmp_path, workflow="fan") == 0
    assert set(check_fan(tmp_path).values()) == {1}


@mostly_slow("step", "each/2", "each/0", "each/4", "last")
def test_killed_in_an_element_only_what_was_at_work_is_done_again(children, tmp_path, step):
    assert children(tmp_path, f"perform run-1 {step}", workflow="fan") == -9
    assert children(tmp_path, workflow="fan") == 0
    calls = check_fan(tmp_path)
    performed = [calls["run-1", name, "perform"] for name in ELEMENTS]
    assert calls["run-1", step, "perform"] == 2
    assert sum(performed) <= 5 + 4  # no more than the slots were at work
    assert calls["run-1", "first", "perform"] == 1


@mostly_slow("moment", "in", "before")
def test_killed_around_an_elements_commit_its_effect_is_there_once(children, tmp_path, moment):
    assert children(tmp_path, f"{moment} commit run-1 each/3", workflow="fan") == -9
    assert children(tmp_path, workflow="fan") == 0
    assert check_fan(tmp_path)["run-1", "each/3", "perform"] == 1


@mostly_slow("point", "cache.committed", "foreach.begun", "foreach.ended", "cache.stored")
def test_killed_beside_the_work(children, tmp_path, point):
    assert children(tmp_path, workflow="fan", arm=point) == -9
    assert children(tmp_path, workflow="fan", arm=point) == 0
    calls = check_fan(tmp_path)
    assert {calls["run-1", name, "perform"] for name in ELEMENTS} == {1}
    # Too short to be recorded: before its outputs are kept it is done again.
    again = point == "cache.committed"
    assert calls["run-1", "first", "perform"] == 1 + again


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def shared_database(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
    elif find_postgres() is None:
        pytest.skip("no Postgres on this machine")
    else:
        with postgres_server() as server:
            yield server.new_database()


def test_a_dead_workers_runs_are_taken_over(children, tmp_path, shared_database):
    dead = children(tmp_path, "in commit run-1 join", shared=(shared_database, "worker-a"))
    assert dead == -9
    assert children(tmp_path, shared=(shared_database, "worker-b")) == 0
    calls = check(tmp_path)
    assert calls["run-1", "first", "perform"] == 1
    assert calls["run-1", "join", "commit"] == 2


@pytest.mark.slow
def test_killed_at_random_times(children, tmp_path_factory, record_property):
    seed = int(os.environ.get("VOLANT_CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    record_property("seed", seed)
    dice = random.Random(seed)
    for turn in range(10):
        home = tmp_path_factory.mktemp(f"turn{turn}")
        for _ in range(dice.randint(1, 3)):
            after_s = dice.uniform(0.0, 0.6)
            if children(home, after_s=after_s) == 0:
                break
        assert children(home) == 0, f"VOLANT_CHAOS_SEED={seed} turn {turn}"
        check(home, f"VOLANT_CHAOS_SEED={seed} turn {turn}")


@pytest.mark.slow
def test_a_fan_out_killed_at_random_times(children, tmp_path_factory, record_property):
    seed = int(os.environ.get("VOLANT_CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    record_property("seed", seed)
    dice = random.Random(seed)
    for turn in range(8):
        home = tmp_path_factory.mktemp(f"fan{turn}")
        for _ in range(dice.randint(1, 3)):
            if children(home, after_s=dice.uniform(0.0, 0.6), workflow="fan") == 0:
                break
        assert children(home, workflow="fan") == 0, f"VOLANT_CHAOS_SEED={seed} turn {turn}"
        check_fan(home, f"VOLANT_CHAOS_SEED={seed} turn {turn}")
