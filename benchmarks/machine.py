"""The machine, and what processes take from it. Linux only, as Volant is."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


def facts(work: Path) -> Mapping[str, Any]:
    """Cores, load, memory, processor, and the file system that `work` is on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 2) for value in os.getloadavg()],
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _file_system(work),
    }


def busy(machine: Mapping[str, Any]) -> bool:
    """Whether others use enough of the machine to spoil a figure."""
    return machine["load"][0] > 0.5 * machine["cores"]


def compiled() -> bool:
    """Whether the installed libraries' bytecode is there: without it every start compiles them."""
    import sqlalchemy

    return Path(importlib.util.cache_from_source(sqlalchemy.__file__)).exists()


def text(machine: Mapping[str, Any]) -> str:
    load = " ".join(f"{value:.2f}" for value in machine["load"])
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB,"
        f" load {load},"
        f" Linux {machine['kernel']}, Python {machine['python']}, {machine['file_system']}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        mount, kind = line.split()[1:3]
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def family(pid: int) -> Sequence[int]:
    """`pid` and all processes that descend from it."""
    found = [pid]
    for tasks in _tasks(pid):
        for child in tasks:
            found += family(child)
    return found


def _tasks(pid: int) -> Sequence[Sequence[int]]:
    # Children belong to the thread that forked them, so all threads are asked.
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [[int(c) for c in (t / "children").read_text().split()] for t in threads]
    except OSError:
        return []


def pss_mb(pid: int) -> float:
    """Proportional set size of the whole family, in 10⁶ bytes: shared pages count once."""
    total = 0
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """User and system time that the family's living members have used."""
    total = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def cpu_percent(pid: int, seconds: float) -> float:
    """Share of one core that the family uses over the next `seconds`."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)
