"""A platform that stops and starts again, alone and beside another."""

from __future__ import annotations

import sqlite3

import pytest
from platform_process import Platform, listening, loop_file, own, table, wait_for, write_csv

pytestmark = pytest.mark.timeout(400)  # for a busy machine: alone, each takes seconds
WINE, NIGHTLY = own("wine"), own("nightly")
TALL = {"height": 2.0, "weight": 0.0, "age": 0.0}


@pytest.fixture(scope="module")
def platform(platforms) -> Platform:
    """With one turn of the loop behind it."""
    first = platforms().start()
    first.apply(loop_file(WINE, more="deploy: {replicas: {min: 1}}\n"))
    first.turn(WINE, WINE, write_csv(first.folder / "1.csv", table(120, seed=1)))
    return first


def test_after_a_restart_deployments_answer_on_the_same_port_and_history_is_there(platform):
    before = {
        path: platform.items(path)
        for path in (
            "/runs",
            "/events",
            "/models",
            f"/loops/{WINE}/decisions",
            f"/datasets/{WINE}/pushes",
        )
    }
    port = platform.get(f"/deployments/{WINE}")["port"]
    platform.down()
    assert not listening(port)
    platform.start()
    assert platform.get(f"/deployments/{WINE}")["port"] == port
    assert platform.predict(WINE, TALL) == "yes"
    for path, items in before.items():
        assert platform.items(path) == items, path
    run = platform.turn(WINE, WINE, write_csv(platform.folder / "2.csv", table(60, seed=2)))
    assert run["workflow"]["inputs"]["dataset_version"] == 2


def test_a_schedule_that_came_due_while_it_was_down_fires_once(platform):
    platform.apply(loop_file(NIGHTLY, dataset=WINE, more='triggers: [{cron: "0 0 1 1 *"}]\n'))
    platform.down()
    with sqlite3.connect(platform.home / "volant.db") as db:
        past = "UPDATE triggers SET next_at = '2020-01-01 00:00:00.000000' WHERE cron IS NOT NULL"
        changed = db.execute(past)
        assert changed.rowcount == 1
    db.close()
    platform.start()
    (run,) = wait_for("the schedule's run", lambda: platform.items("/runs", loop=NIGHTLY))
    assert platform.finished(run["id"])["state"]["status"] == "succeeded"
    assert run["trigger"] == "cron"
    platform.down()
    platform.start()
    assert [each["id"] for each in platform.items("/runs", loop=NIGHTLY)] == [run["id"]]
    told = platform.items(f"/loops/{NIGHTLY}/decisions")
    assert [each["outcome"] for each in told if each["kind"] == "trigger"] == ["fired"]
    assert platform.predict(NIGHTLY, TALL) == "yes"


def test_a_second_up_on_the_same_home_is_refused(platform):
    refused = platform.cli("up", "--port", "0", code=4)
    assert "is running on" in refused.err
    assert "volant down" in refused.err
    detached = platform.cli("up", "--detach", "--port", "0", code=4)
    assert str(platform.process.pid) in detached.err
    assert platform.get("/health")


def test_a_port_in_use_is_refused_and_leaves_nothing(platforms, platform):
    other = platforms()
    port = platform.ports()[0]
    refused = other.cli("up", "--port", str(port), code=4)
    assert str(port) in refused.err
    assert not other.family()


def test_two_platforms_side_by_side(platforms, platform):
    other = platforms().start()
    other.apply(loop_file(WINE))
    assert other.items("/runs") == []
    other.turn(WINE, WINE, write_csv(other.folder / "1.csv", table(80, seed=3)))
    ports = {
        platform.get(f"/deployments/{WINE}")["port"],
        other.get(f"/deployments/{WINE}")["port"],
    }
    assert len(ports) == 2
    assert other.predict(WINE, TALL) == "yes"
    assert platform.predict(WINE, TALL) == "yes"
    other.down()
    assert platform.predict(WINE, TALL) == "yes"
