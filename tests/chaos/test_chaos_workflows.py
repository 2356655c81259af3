"""Kill -9 at the crash points of workflows: an assignment and a push each have their one run,
what gives way is cancelled, and of old runs nothing is left over."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from effects import stubborn
from platform_process import wait_for
from workflow_flows import Flow, told, work_folder

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

POINTS = [name for name in CRASH_POINTS if name.startswith(("workflow.", "runs."))]


def persistent(platform, *words):
    """A command, given again until it works; the platform is started when it died."""

    def call():
        done = platform.cli(*words, code=None)
        if done.code != 0:
            raise ConnectionError(done)
        return done.json

    while True:
        try:
            return stubborn(platform, call)
        except ConnectionError:
            if not platform.ended():
                raise


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_crash_point_every_run_is_there_once(platforms, point):
    platform = platforms()
    crashed = platform.folder / "crashed"
    platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed))
    flow = Flow(platform, "flow")
    flow.push(1)
    persistent(platform, "workflow", "create", flow.file)
    persistent(platform, "workflow", "assign", "flow", "p/flow")
    settled(platform)
    [first] = stubborn(platform, flow.runs)
    stubborn(platform, lambda: flow.at(first["id"], "wait", "running"))
    for number in (2, 3):
        (flow.folder / "number.txt").write_text(f"{number}\n")
        folder = ("--name", "flow", "--project", "p", flow.folder)
        persistent(platform, "codeset", "register", *folder)
        settled(platform)
    stubborn(platform, lambda: wait_for("one to wait", lambda: flow.statuses()[0] == "queued"))
    assert stubborn(platform, flow.statuses) == ["queued", "cancelled", "running"]
    flow.open()
    runs = stubborn(platform, lambda: flow.ended(3))
    assert [told(run) for run in runs] == ["world 3", "", "world 1"]

    persistent(platform, "runs", "prune", "--keep", "1", "--apply")
    settled(platform)
    kept = [run["id"] for run in stubborn(platform, flow.runs)]
    assert kept[0] == runs[0]["id"]
    gone = {run["id"] for run in runs} - set(kept)
    assert runs[1]["id"] in gone
    left = [work_folder(platform, run_id) for run_id in gone]
    wait_for("their folders to go", lambda: not any(folder.exists() for folder in left))
    wait_for("the engine to forget", lambda: not gone & engine_knows(platform.home))
    assert crashed.exists(), f"{point} wasn't passed"
    platform.down()


def settled(platform):
    """Every event is handled, however often the platform has to be started for it."""

    def look():
        stubborn(platform, lambda: platform.get("/health"))
        pending = "SELECT count(*) FROM events WHERE dispatched_at IS NULL"
        return rows(platform.home / "volant.db", pending) == [(0,)]

    wait_for("every event to be handled", look)


def engine_knows(home: Path) -> set[str]:
    return {row[0] for row in rows(home / "runs.db", "SELECT workflow_uuid FROM workflow_status")}


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()
