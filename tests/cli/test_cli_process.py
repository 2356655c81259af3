"""`volant up` and `volant down` as far as they need no platform: locks, records, refusals."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

# Holds a home's lock and writes its record, as a server does; ends on SIGTERM.
HOLDER = """
import fcntl, json, os, signal, sys, time
home = sys.argv[1]
lock = os.open(home + "/server.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, {handler})
with open(home + "/server.json", "w") as record:
    json.dump({{"pid": os.getpid(), "url": "http://127.0.0.1:9",
               "started_at": "2026-03-01T12:00:00+00:00"}}, record)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def holder(home):
    started = []

    def hold(handler="signal.SIG_DFL"):
        code = HOLDER.format(handler=handler)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "held\n"
        started.append(process)
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_down_stops_the_server(bare, home, holder):
    server = holder()
    done = bare("down")
    assert done.code == 0
    assert f"Stopped Volant at http://127.0.0.1:9 (pid {server.pid}, up for" in done.out
    assert server.wait() == -signal.SIGTERM


def test_down_where_nothing_runs(bare, home):
    assert bare("down").out == f"No Volant is running on {home}.\n"
    (home / "server.json").write_text(json.dumps({"pid": os.getpid(), "url": "http://x"}))
    assert bare("down", "--json").json["stopped"] is False
    assert not (home / "server.json").exists()


def test_down_never_signals_a_process_that_is_no_server(bare, home):
    """The lock is held, but the record names another process: a dead server's number."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (home / "server.json").write_text(json.dumps({"pid": bystander.pid, "url": "http://x"}))
        lock = os.open(home / "server.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = bare("down")
        assert done.code == 4
        assert "just starting or stopping" in done.err
        assert bystander.poll() is None
        os.close(lock)
    finally:
        bystander.kill()
        bystander.wait()


def test_down_tells_when_the_server_does_not_end(bare, home, holder):
    server = holder(handler="signal.SIG_IGN")
    done = bare("down", "--timeout", "0.1")
    assert done.code == 6
    assert f"kill -9 {server.pid}" in done.err


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_second_up_on_one_home_is_refused(bare, home, holder, detach):
    server = holder()
    done = bare("up", *detach)
    assert done.code == 4
    assert f"pid {server.pid}" in done.err
    assert "volant down" in done.err


def test_up_beyond_this_machine_needs_tls(bare, home):
    done = bare("up", "--host", "0.0.0.0")
    assert done.code == 2
    assert "--tls-cert" in done.err


def test_up_tells_a_wrong_setting(bare, home, monkeypatch):
    monkeypatch.setenv("VOLANT_PORT", "many")
    done = bare("up")
    assert done.code == 2
    assert "VOLANT_PORT is 'many'" in done.err


def test_a_detached_start_that_fails_tells_why(bare, home):
    done = bare("up", "--detach", "--host", "0.0.0.0")
    assert done.code == 2
    assert "--insecure" in done.err
    assert not (home / "server.json").exists()


def test_a_home_that_cannot_be_made(bare, tmp_path):
    (tmp_path / "file").touch()
    done = bare("up", "--detach", "--home", tmp_path / "file" / "home")
    assert done.code == 6
    assert "can't be written" in done.err
