from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from volant.adapters.local.limits import (
    Group,
    MemoryGroups,
    _oom_counter,
    _parents,
    machine_oom_kills,
)


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "memory" / "own").mkdir(parents=True)
    mounts = f"cgroup {tmp_path}/memory cgroup rw,relatime,memory 0 0\nproc /proc proc rw 0 0\n"
    assert _parents("4:cpu:/\n3:memory:/own\n0::/\n", mounts) == [(tmp_path / "memory/own", 1)]


def test_version_2_takes_only_folders_that_pass_memory_on(tmp_path: Path) -> None:
    own = tmp_path / "app.slice" / "volant.service"
    own.mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path} cgroup2 rw 0 0\n"
    (own / "cgroup.subtree_control").write_text("cpu\n")
    assert _parents("0::/app.slice/volant.service\n", mounts) == []
    (own.parent / "cgroup.subtree_control").write_text("cpu memory\n")
    assert _parents("0::/app.slice/volant.service\n", mounts) == [(own.parent, 2)]
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    assert _parents("0::/\n", mounts) == [(tmp_path, 2)]


def test_version_2_limits(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    (tmp_path / "self").write_text("0::/\n")
    (tmp_path / "mounts").write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    group = MemoryGroups(tmp_path / "self", tmp_path / "mounts").make(5000)
    assert group is not None
    assert (group.path / "memory.max").read_text() == "5000"
    assert (group.path / "memory.swap.max").read_text() == "0"
    (group.path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert group.oom_kills() == 2


def test_nothing_to_be_had(tmp_path: Path) -> None:
    groups = MemoryGroups(tmp_path / "none", tmp_path / "none")
    assert groups.make(1 << 20) is None
    assert not groups.available


def test_removing_what_is_gone(tmp_path: Path) -> None:
    Group(tmp_path / "gone", 1).remove()
    assert Group(tmp_path / "gone", 1).oom_kills() == 0


def test_who_goes_over_a_limit_of_its_own_is_no_sign_that_the_machine_is_full() -> None:
    group = MemoryGroups().make(16 << 20)
    if group is None or _oom_counter().name == "vmstat":
        pytest.skip("no control group can be made here")
    before = machine_oom_kills()
    greedy = f"open('{group.path}/cgroup.procs', 'w').write('0'); len(bytearray(64 << 20))"
    try:
        done = subprocess.run([sys.executable, "-c", greedy], check=False)
        assert done.returncode == -signal.SIGKILL
        assert group.oom_kills() >= 1
        assert machine_oom_kills() == before
    finally:
        group.remove()


def test_stale_groups_are_cleaned() -> None:
    groups = MemoryGroups()
    if not groups.available:
        pytest.skip("no control group can be made here")
    made = groups.make(1 << 30)
    assert made is not None
    process = subprocess.Popen(["sleep", "600"])
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale = made.path.with_name(f"volant-{ended.pid}-1")
    stale.mkdir()
    (stale / "cgroup.procs").write_text(str(process.pid))
    MemoryGroups()
    assert process.wait(10) == -9
    assert not stale.exists()
    assert made.path.exists()
    made.remove()
    assert not made.path.exists()
    assert list(made.path.parent.glob(f"volant-{os.getpid()}-*")) == []
