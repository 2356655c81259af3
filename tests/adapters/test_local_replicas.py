"""A replica's limits, and what is said of its end: real forks, real limits."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from volant.adapters.local.limits import MemoryGroups
from volant.adapters.local.zygote import ZygoteLauncher
from volant.errors import Unavailable
from volant.ports.replicas import ReplicaOrder

MODULES = """
import os, socket

def wait(spec, listen_fd, control_fd):
    control = socket.socket(fileno=control_fd)
    control.sendall(b"here\\n")
    said = control.recv(100)
    if said == b"eat":
        kept = []
        for _ in range(1000):
            kept.append(b"x" * 4_000_000)
    if said == b"crash":
        os.abort()
    if said == b"leave":
        raise SystemExit(3)
"""
LIMIT = 200 * 1024 * 1024


class NoGroups(MemoryGroups):
    """As on a machine where none can be made."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"), Path("/nonexistent"))


@pytest.fixture
def start(tmp_path, monkeypatch):
    (tmp_path / "lasting.py").write_text(MODULES)
    (tmp_path / "failing.py").write_text("raise RuntimeError('half a library')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = ZygoteLauncher({"light": ("lasting",), "sick": ("failing",)})

    def start(**limits):
        ours, theirs = socket.socketpair()
        order = ReplicaOrder("d", 1, "lasting:wait", {}, "light", **limits)
        with theirs, socket.create_server(("127.0.0.1", 0)) as listening:
            pid = launcher.launch(order, listening.fileno(), theirs.fileno())
        ours.settimeout(30)
        assert ours.recv(10) == b"here\n"
        return pid, ours

    start.launcher = launcher
    yield start
    launcher.close()


def end(control, word=b""):
    control.sendall(word) if word else control.shutdown(socket.SHUT_WR)
    while control.recv(100):
        pass
    control.close()


@pytest.mark.parametrize("groups", [MemoryGroups, NoGroups])
def test_a_replica_that_needs_too_much_memory_is_told_so(start, monkeypatch, groups):
    monkeypatch.setattr("volant.adapters.local.replicas.MemoryGroups", groups)
    pid, control = start(memory_bytes=LIMIT)
    end(control, b"eat")
    why = start.launcher.ended(pid, 10)
    assert why is not None
    assert "200 MiB of memory" in why
    assert start.launcher.ended(pid, 0) is None


@pytest.mark.parametrize(
    ("word", "says"),
    [(b"crash", "crashed (SIGABRT)"), (b"leave", "exit code 3"), (b"", None)],
)
def test_how_a_replica_ended(start, word, says):
    pid, control = start()
    end(control, word)
    why = start.launcher.ended(pid, 10)
    assert why is None if says is None else says in str(why)


def test_a_replica_that_was_killed(start):
    pid, control = start()
    os.kill(pid, signal.SIGKILL)
    assert control.recv(10) == b""
    assert "SIGKILL" in str(start.launcher.ended(pid, 10))
    assert start.launcher.ended(1, 0) is None


def test_cores_are_bounded_by_a_group_that_goes_with_the_replica(start):
    probe = MemoryGroups().make_cpu(1.0, None)
    if probe is None:
        pytest.skip("no control group for CPU time can be made here")
    probe.remove()
    pid, control = start(cpu=0.5, memory_bytes=LIMIT)
    groups = [
        line.partition(":")[2]
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        if "volant-" in line
    ]
    assert any(line.startswith(("cpu", ":")) for line in groups)
    end(control)
    start.launcher.ended(pid, 10)
    own = f"volant-{os.getpid()}-*"
    deadline = time.monotonic() + 30
    while [p for parent, _ in MemoryGroups()._parents for p in parent.glob(own)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_groups_cores_are_bounded_by_their_number(start, monkeypatch):
    monkeypatch.setattr("volant.adapters.local.replicas.MemoryGroups", NoGroups)
    pid, control = start(cpu=1.0)
    assert len(os.sched_getaffinity(pid)) == 1
    end(control)
    pid, control = start(cpu=0.5)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    end(control)


def test_prepared_tells_without_waiting(start):
    launcher = start.launcher
    deadline = time.monotonic() + 30
    while not launcher.prepared("light"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    problem = None
    while problem is None:
        assert time.monotonic() < deadline
        try:
            assert not launcher.prepared("sick")
        except Unavailable as error:
            problem = error
    assert "half a library" in problem.what
    assert not launcher.prepared("sick")  # told once; it is tried again
