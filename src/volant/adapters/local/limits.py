"""Memory and CPU limits by control group, versions 1 and 2: best effort, never fatal.

A group is made beside or below our own, one per job that has a limit. Where none can be
made, the job's process bounds itself (`RLIMIT_DATA`) instead.

Source of the file formats: the kernel's Documentation/admin-guide/cgroup-v1/memory.rst
and cgroup-v2.rst, and Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PREFIX = "volant-"
_PERIOD_US = 100_000  # CPU time is shared out anew this often


@dataclass(frozen=True, slots=True)
class Group:
    """One process's control group."""

    path: Path
    version: int

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for going over the limit."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _counter(self.path / name, "oom_kill")

    def remove(self) -> None:
        """Kill what is left inside, then take the group away."""
        for _ in range(50):
            with contextlib.suppress(OSError, ValueError):
                for pid in (self.path / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.01)  # its processes are still being torn down
            else:
                return


class MemoryGroups:
    """Makes and removes the groups of one control plane."""

    def __init__(
        self,
        self_cgroup: Path = Path("/proc/self/cgroup"),
        mounts: Path = Path("/proc/self/mounts"),
    ) -> None:
        self._numbers = itertools.count(1)
        own, mounted = _read(self_cgroup), _read(mounts)
        self._parents = _parents(own, mounted)
        self._cpu_parents = _parents(own, mounted, "cpu")
        self._clean()

    @property
    def available(self) -> bool:
        """Whether a group could be made now."""
        group = self.make(1 << 30)
        if group is None:
            return False
        group.remove()
        return True

    def make(self, limit_bytes: int) -> Group | None:
        """A new group that holds at most `limit_bytes`, or None where that can't be had."""
        for parent, version in self._parents:
            group = Group(parent / f"{_PREFIX}{os.getpid()}-{next(self._numbers)}", version)
            try:
                group.path.mkdir()
            except OSError:
                continue
            try:
                _limit(group, limit_bytes)
            except OSError:
                group.remove()
                continue
            return group
        return None

    def make_cpu(self, cores: float, memory: Group | None) -> Group | None:
        """A group that gets at most `cores` of CPU time, or None where that can't be had.
        In version 2 that is `memory` itself, if there is one: a process is in one group."""
        if memory is not None and memory.version == 2:
            return memory if _limit_cpu(memory, cores) else None
        for parent, version in self._cpu_parents:
            group = Group(parent / f"{_PREFIX}{os.getpid()}-{next(self._numbers)}", version)
            try:
                group.path.mkdir()
            except OSError:
                continue
            if _limit_cpu(group, cores):
                return group
            group.remove()
        return None

    def _clean(self) -> None:
        """Remove what control planes that were killed left behind."""
        for parent, version in (*self._parents, *self._cpu_parents):
            with contextlib.suppress(OSError):
                for path in parent.glob(f"{_PREFIX}*-*"):
                    owner = path.name.removeprefix(_PREFIX).partition("-")[0]
                    if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                        Group(path, version).remove()


def _limit(group: Group, limit_bytes: int) -> None:
    if group.version == 2:
        (group.path / "memory.max").write_text(str(limit_bytes))
        with contextlib.suppress(OSError):
            (group.path / "memory.swap.max").write_text("0")
        with contextlib.suppress(OSError):
            (group.path / "memory.oom.group").write_text("1")
        return
    (group.path / "memory.limit_in_bytes").write_text(str(limit_bytes))
    with contextlib.suppress(OSError):  # absent where swap isn't accounted for
        (group.path / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes))


def _limit_cpu(group: Group, cores: float) -> bool:
    quota = max(1000, round(cores * _PERIOD_US))
    try:
        if group.version == 2:
            (group.path / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        else:
            (group.path / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group.path / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError:
        return False
    return True


def _parents(self_cgroup: str, mounts: str, controller: str = "memory") -> list[tuple[Path, int]]:
    """Folders in which a group of `controller` may be made, the likeliest first.

    Version 2 forbids processes beside limited groups (except at the root), so there our
    own group's parent, which a user session owns too, is the second choice.
    """
    found: list[tuple[Path, int]] = []
    for mount, group, version in _own(self_cgroup, mounts, controller):
        if version == 1:
            found.append((group, 1))
            continue
        candidates = [group] if group == mount else [group, group.parent]
        found += [(path, 2) for path in candidates if _offers(path, controller)]
    return [(path, version) for path, version in found if path.is_dir()]


def _own(self_cgroup: str, mounts: str, controller: str) -> Iterator[tuple[Path, Path, int]]:
    """The groups that this process is in: where its hierarchy is mounted, its folder, its
    version."""
    v1_mount = v2_mount = None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[2] == "cgroup" and controller in fields[3].split(","):
            v1_mount = Path(fields[1])
        elif len(fields) >= 4 and fields[2] == "cgroup2":
            v2_mount = Path(fields[1])
    for line in self_cgroup.splitlines():
        number, _, rest = line.partition(":")
        names, _, own = rest.partition(":")
        if v1_mount is not None and controller in names.split(","):
            yield v1_mount, v1_mount / own.lstrip("/"), 1
        elif v2_mount is not None and number == "0":
            yield v2_mount, v2_mount / own.lstrip("/"), 2


def _offers(group: Path, controller: str) -> bool:
    return controller in _read(group / "cgroup.subtree_control").split()


def machine_oom_kills() -> int:
    """How many processes the kernel has killed because the machine, or the container that we
    are in, had no memory left."""
    return _counter(_oom_counter(), "oom_kill")


@cache
def _oom_counter() -> Path:
    """The machine counts every kill, also of what went over a limit of its own somewhere
    else. So our own group's count is asked, where it has one: jobs without a limit are in
    it, and those with one in none of ours."""
    own, mounted = _read(Path("/proc/self/cgroup")), _read(Path("/proc/self/mounts"))
    for _, group, version in _own(own, mounted, "memory"):
        told = group / ("memory.events.local" if version == 2 else "memory.oom_control")
        if "oom_kill " in _read(told):
            return told
    return Path("/proc/vmstat")


def _counter(path: Path, name: str) -> int:
    # Not line by line: it is asked for twice a job, of a file of some hundred lines.
    _, _, rest = f"\n{_read(path)}".partition(f"\n{name} ")
    value = rest.partition("\n")[0].strip()
    return int(value) if value.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
