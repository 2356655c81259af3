"""The control plane's memory of the replicas that it forked: their limits and their ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from volant.adapters.local.child import EXIT_OUT_OF_MEMORY
from volant.adapters.local.limits import Group, MemoryGroups, machine_oom_kills
from volant.ports.replicas import ReplicaOrder

REPLICA_OOM_SCORE = 300

ReadReport = Callable[[int, float], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one replica, made before it runs."""

    memory_bytes: int | None
    memory: Group | None
    cpu: Group | None

    def request(self, order: ReplicaOrder) -> Mapping[str, Any]:
        """What its fork is told."""
        return {
            "entry": order.entry,
            "spec": dict(order.spec),
            "memory_bytes": order.memory_bytes,
            "cgroup": None if self.memory is None else str(self.memory.path),
            "cpu": order.cpu,
            "cpu_cgroup": None if self.cpu is None else str(self.cpu.path),
            "oom_score_adj": REPLICA_OOM_SCORE,
        }

    def remove(self) -> None:
        """In a thread of its own: groups go only after their processes."""
        groups = {group for group in (self.memory, self.cpu) if group is not None}
        if groups:
            threading.Thread(
                target=lambda: [group.remove() for group in groups],
                name="volant-replica-groups",
                daemon=True,
            ).start()


@dataclass(frozen=True, slots=True)
class _Running:
    report: int
    bounds: Bounds
    machine_kills: int


class Replicas:
    """Args:
    read: Reads one line of JSON from a descriptor, waiting at most so many seconds.

    Thread-safe.
    """

    def __init__(self, read: ReadReport) -> None:
        self._read = read
        self._groups: MemoryGroups | None = None
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}

    def bound(self, order: ReplicaOrder) -> Bounds:
        """The limits that `order` asks for, as far as control groups can hold them; its
        process does the rest itself."""
        if order.memory_bytes is None and order.cpu is None:
            return Bounds(None, None, None)
        with self._lock:
            if self._groups is None:
                self._groups = MemoryGroups()
        groups = self._groups
        memory = None if order.memory_bytes is None else groups.make(order.memory_bytes)
        cpu = None if order.cpu is None else groups.make_cpu(order.cpu, memory)
        return Bounds(order.memory_bytes, memory, cpu)

    def add(self, pid: int, report: int, bounds: Bounds) -> None:
        """It runs; `report` gets its exit report and belongs to this object now."""
        with self._lock:
            before = self._running.pop(pid, None)
            self._running[pid] = _Running(report, bounds, machine_oom_kills())
        if before is not None:
            _forget(before)

    def ended(self, pid: int, wait_s: float) -> str | None:
        """See `ReplicaLauncher.ended`."""
        with self._lock:
            running = self._running.pop(pid, None)
        if running is None:
            return None
        try:
            report = self._read(running.report, wait_s) if wait_s else None
            return _why(report, running)
        finally:
            _forget(running)

    def close(self) -> None:
        """Forget them all."""
        with self._lock:
            running, self._running = list(self._running.values()), {}
        for one in running:
            _forget(one)


def _forget(running: _Running) -> None:
    os.close(running.report)
    running.bounds.remove()


def _why(report: Mapping[str, Any] | None, running: _Running) -> str | None:
    bounds = running.bounds
    code = report.get("exit") if report is not None else None
    if (bounds.memory is not None and bounds.memory.oom_kills()) or code == EXIT_OUT_OF_MEMORY:
        limit = bounds.memory_bytes
        what = "all memory there is" if limit is None else f"its {limit / 2**20:.0f} MiB of memory"
        return f"It needed more than {what} and was ended; raise `memory`, or use a smaller model."
    if not isinstance(code, int) or code == 0:
        return None
    if code == -signal.SIGKILL and machine_oom_kills() > running.machine_kills:
        return "The kernel killed it: the machine had no memory left."
    if code < 0:
        return (
            f"Its process was ended by {signal.Signals(-code).name}, sent from outside Volant."
            if -code in _SENT
            else f"Its process crashed ({signal.Signals(-code).name})."
        )
    return f"Its process ended with exit code {code}; see the deployment's log."


_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
