"""What a container has used, read from its control groups while it runs.

The kernel's own counters are read (`memory.peak` or `memory.max_usage_in_bytes`, which
count file cache too; `cpu.stat` or `cpuacct.usage`; how often the OOM killer struck), so
only what came in the last moment before a container's end is missed.

Source of the file formats: the kernel's Documentation/admin-guide/cgroup-v1/memory.rst,
cpuacct.rst and cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_s: float = 0.0
    peak_bytes: int = 0
    oom_kills: int = 0

    def joined(self, later: Usage) -> Usage:
        """Counters only grow; one that can't be read any more is 0."""
        return Usage(
            max(self.cpu_s, later.cpu_s),
            max(self.peak_bytes, later.peak_bytes),
            max(self.oom_kills, later.oom_kills),
        )


class Meter:
    """Reads one process's control groups."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        mounts = _text(proc / "self" / "mounts")
        self._folders = group_folders(_text(proc / str(pid) / "cgroup"), mounts)

    @property
    def found(self) -> bool:
        return bool(self._folders)

    def read(self) -> Usage:
        """What it is now; zeros for what can't be read."""
        memory = self._folders.get("memory")
        cpu = self._folders.get("cpuacct")
        whole = self._folders.get("")  # version 2 has all in one
        used = Usage()
        if memory is not None:
            used = Usage(
                peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
                oom_kills=_field(memory / "memory.oom_control", "oom_kill"),
            )
        if cpu is not None:
            used = used.joined(Usage(cpu_s=_number(cpu / "cpuacct.usage") / 1e9))
        if whole is not None:
            used = used.joined(
                Usage(
                    _field(whole / "cpu.stat", "usage_usec") / 1e6,
                    _number(whole / "memory.peak") or _number(whole / "memory.current"),
                    _field(whole / "memory.events", "oom_kill"),
                )
            )
        return used


def group_folders(cgroup: str, mounts: str) -> Mapping[str, Path]:
    """From `/proc/PID/cgroup` and `/proc/self/mounts`: folders by controller, version 2's
    under the empty name. A process in no group of its own (`/`) has none."""
    places: dict[str, Path] = {}
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        if fields[2] == "cgroup2":
            places[""] = Path(fields[1])
        elif fields[2] == "cgroup":
            for name in {"memory", "cpuacct"} & set(fields[3].split(",")):
                places[name] = Path(fields[1])
    found: dict[str, Path] = {}
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            if name in places and path not in ("", "/"):
                found[name] = places[name] / path.lstrip("/")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _field(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0
