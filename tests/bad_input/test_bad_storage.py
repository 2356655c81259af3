"""A full disk, a locked database, one that can't be written: told, waited for, got over."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess

import pytest
from platform_process import loop_file, table, wait_for, write_csv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@contextlib.contextmanager
def mounted(folder, *words):
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs to be allowed to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class SmallDisk:
    """A platform's home on a disk of its own that can be filled."""

    def __init__(self, platform):
        self.platform = platform
        self._fill = platform.home / "somebody-elses"

    def leave(self, kilobytes):
        """Fill it but for so much."""
        self.free()
        left = shutil.disk_usage(self.platform.home).free - kilobytes * 1024
        with contextlib.suppress(OSError), self._fill.open("wb") as file:
            file.write(b"\0" * max(0, left))

    def free(self):
        self._fill.unlink(missing_ok=True)


@pytest.fixture
def disk(platforms):
    platform = platforms()
    platform.home.mkdir()
    with mounted(platform.home, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        platform.start()
        try:
            yield SmallDisk(platform)
        finally:
            platform.close()


def test_a_full_disk_refuses_what_it_cannot_hold_and_takes_it_when_there_is_space(disk):
    platform = disk.platform
    platform.apply(loop_file("people"))
    first = write_csv(platform.folder / "a.csv", table(80, 1))
    platform.turn("people", "people", first)
    home = ("--home", str(platform.home))
    disk.leave(0)
    told = platform.shell("data", "push", "people", str(first), *home, code=1)
    assert "disk is full" in told.err or "No space is left" in told.err
    assert "Free some space" in told.err
    told = platform.shell("run", "people", *home, code=1)
    assert "No space is left" in told.err
    # What is there answers on.
    assert platform.predict("people", {"height": 2.0, "weight": 0.0, "age": 0.0}) == "yes"
    assert platform.get("/datasets/people")["rows"] == 80
    disk.free()
    turn = platform.turn("people", "people", write_csv(platform.folder / "b.csv", table(40, 2)))
    assert turn["state"]["status"] == "succeeded"
    assert platform.get("/datasets/people")["rows"] == 120


@pytest.mark.parametrize("kilobytes", [100, 400])
def test_a_disk_that_fills_up_on_the_way_stops_nothing_for_good(disk, kilobytes):
    """Wherever the space ends (upload, ingest, split, training, registering), each push
    that was accepted can be brought in once there is space, and one that was refused
    never is."""
    platform = disk.platform
    platform.apply(loop_file("people"))
    disk.leave(kilobytes)
    file = write_csv(platform.folder / "a.csv", table(400, 1))
    accepted = [push for push in (offered(platform, file) for _ in range(3)) if push]
    if accepted:  # the work goes as far as there is space
        with contextlib.suppress(AssertionError):
            wait_for("the end of space", platform.ended, timeout_s=8)
    assert not platform.ended()
    disk.free()
    for push in accepted:
        brought_to_an_end(platform, push["run_id"])
        assert platform.settled(push["id"])["status"] == "committed"
    last = platform.pushed("people", file)
    assert platform.get("/datasets/people")["rows"] == 400 * (len(accepted) + 1)
    platform.run_for("people", last["version"])
    for run in platform.items("/runs", loop="people"):
        brought_to_an_end(platform, run["id"])


def brought_to_an_end(platform, run_id):
    """A run that failed for want of space says so, and can be gone on with."""
    wait_for(f"run {run_id}", lambda: platform.ask("GET", f"/runs/{run_id}").is_success)
    run = platform.finished(run_id)
    if run["state"]["status"] == "failed":
        assert "space" in str(run["state"]["error"]).lower(), run["state"]["error"]
        assert "space" in platform.shell("why", "people", "--home", str(platform.home)).out
        platform.post(f"/runs/{run_id}/resume")
        run = platform.finished(run_id)
    assert run["state"]["status"] == "succeeded", run["state"]


def offered(platform, file):
    """The push, or None if it was refused for want of space."""
    answer = platform.ask(
        "POST",
        "/datasets/people/uploads",
        params={"filename": file.name},
        content=file.read_bytes(),
    )
    if answer.is_success:
        body = {"uploads": [answer.json()["id"]]}
        answer = platform.ask("POST", "/datasets/people/pushes", json=body)
    if answer.is_success:
        return answer.json()
    assert answer.status_code in (503, 507), answer.text
    assert "space" in answer.text.lower()
    return None


@contextlib.contextmanager
def locked(file):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_database_is_named_and_reading_goes_on(stranger):
    platform = stranger.platform
    file = write_csv(stranger.folder / "a.csv", table(40, 1))
    assert platform.pushed("people", file)["status"] == "committed"
    with locked(platform.home / "volant.db"):
        words = ("data", "push", "people", file)
        stranger.is_refused(*words, code=6, says=["volant.db", "locked"], fix="Close")
        assert "people" in stranger.types("status")
    assert platform.pushed("people", file)["status"] == "committed"
    assert platform.get("/datasets/people")["rows"] == 80


def test_a_push_is_kept_while_the_runs_database_is_locked(stranger):
    platform = stranger.platform
    file = write_csv(stranger.folder / "b.csv", table(40, 2))
    with locked(platform.home / "runs.db"):
        push = platform.push("patient", file)
        assert platform.get(f"/pushes/{push['id']}")["status"] == "received"
    assert platform.settled(push["id"])["status"] == "committed"
    assert platform.get("/datasets/patient")["rows"] == 40
    assert len(platform.items("/datasets/patient/pushes")) == 1


def test_a_start_on_a_locked_database_says_so(platforms):
    platform = platforms().start()
    platform.down()
    with locked(platform.home / "volant.db"):
        home = str(platform.home)
        told = platform.shell("up", "--home", home, "--port", "0", code=None, timeout_s=120)
    assert told.code == 6, told
    assert "volant.db is locked" in told.err
    assert "Traceback" not in told.err
    platform.start()


def test_a_home_on_a_disk_that_is_read_only(platforms):
    platform = platforms().start()
    platform.down()
    home = platform.home
    with mounted(home, "--bind", str(home)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(home)], check=True)
        told = platform.shell("up", "--home", str(home), "--port", "0", code=6, timeout_s=120)
    assert f"{home} can't be written: Read-only file system" in told.err
    assert "--home" in told.err
    platform.start()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_database_that_is_read_only(platforms):
    platform = platforms().start()
    platform.down()
    database = platform.home / "volant.db"
    with mounted(database, "--bind", str(database)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(database)], check=True)
        home = str(platform.home)
        told = platform.shell("up", "--home", home, "--port", "0", code=6, timeout_s=120)
    assert f"{database} can't be written" in told.err
    assert "writable" in told.err
    assert "Traceback" not in told.err
    platform.start()
