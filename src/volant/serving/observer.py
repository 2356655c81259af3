"""What happened lately: looks at the counters once a second, keeps the last minute, and
stores a line for each minute in which there was something to tell.

One thread of its own. It reads shared memory and, once a minute, writes to the database:
neither holds a connection or the fleet up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from volant.domain.minute import DeploymentMinute
from volant.errors import VolantError
from volant.ports.records import MinuteRecords
from volant.serving.boards import Boards
from volant.serving.log_files import rotate
from volant.serving.snapshot import Snapshot, Window, added

KEPT = timedelta(days=30)
_RECENT_S = 60.0
_TICK_S = 1.0
_PRUNE_EVERY_S = 3600.0

log = logging.getLogger("volant.serving")


@dataclass(slots=True)
class _Minute:
    """The minute that is under way."""

    began: datetime
    first: Snapshot
    colds: int
    losses: int
    peak: float = 0.0
    memory: int = 0
    replicas: int = 0


@dataclass(slots=True)
class _Seen:
    """One deployment as it was seen."""

    minute: _Minute
    last: Snapshot
    pulse: tuple[int, ...]
    own: Mapping[str, int] = field(default_factory=dict)
    recent: deque[Snapshot] = field(default_factory=deque)
    cpu: dict[int, tuple[float, float, float]] = field(default_factory=dict)  # at, seconds, %


class Observer:
    """Args:
    boards: The fleet's counters.
    minutes: Where the history goes; None keeps none.
    logs: The folder of the deployments' logs, which are turned over when they are full.
    now: The wall clock.
    """

    def __init__(
        self,
        boards: Boards,
        minutes: MinuteRecords | None,
        logs: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._boards = boards
        self._minutes = minutes
        self._logs = logs
        self._now = now
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()
        self._unstored: list[DeploymentMinute] = []
        self._stopping = threading.Event()
        self._pruned = -_PRUNE_EVERY_S
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="volant-observer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End, and store what the present minute has so far. Call it before the fleet
        closes its counters."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # what others see

    def recent(self, deployment: str) -> dict[str, Any]:
        """The last minute, or less if it wasn't watched for so long: seconds, requests,
        rps, p50_ms, p95_ms, p99_ms, errors, refused; and of this moment in_flight and
        queue_rows."""
        now = added(self._boards.read(deployment)[1])
        with self._lock:
            seen = self._seen.get(deployment)
            base = _base(seen.recent, time.monotonic() - _RECENT_S) if seen else None
        window = now.since(base) if base else Window(Snapshot(), None)
        seconds = min(_RECENT_S, window.seconds or 0.0)
        return {
            "seconds": round(seconds, 1),
            "requests": window.requests,
            "rps": round(window.requests / max(seconds, _TICK_S), 2),
            "p50_ms": window.p50_ms,
            "p95_ms": window.p95_ms,
            "p99_ms": window.p99_ms,
            "errors": window.errors,
            "refused": window.counts.refused,
            "in_flight": now.in_flight,
            "queue_rows": now.queue_rows,
        }

    def cpu_percent(self, deployment: str) -> dict[int, float]:
        """Of one core, for each replica's pid, over the last seconds."""
        with self._lock:
            seen = self._seen.get(deployment)
            return {pid: each[2] for pid, each in seen.cpu.items()} if seen else {}

    def present(self, deployment: str) -> DeploymentMinute | None:
        """The minute that is under way; None if there is nothing to tell of it yet."""
        with self._lock:
            seen = self._seen.get(deployment)
            return _told(deployment, seen) if seen is not None else None

    # the thread

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self._safely(self.tick)
        self._safely(self.tick)
        self._safely(self._end)

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except VolantError as error:
            if str(error) != self._said:  # once, not at every turn
                self._said = str(error)
                log.warning("the deployments' history can't be stored now: %s", error)
        except Exception:
            log.exception("the observer's turn failed; it goes on")

    def tick(self) -> None:
        """One look at everything."""
        minute = self._now().replace(second=0, microsecond=0)
        names = self._boards.names()
        for name in names:
            self._look(name, minute)
            with contextlib.suppress(OSError):
                rotate(self._logs / f"{name}.log")
        with self._lock:
            for name in set(self._seen) - set(names):
                del self._seen[name]
        self._store()

    def _look(self, name: str, minute: datetime) -> None:
        pulse = self._boards.pulse(name)
        seen = self._seen.get(name)
        if seen is None:
            own, found = self._boards.taken_up(name)
            first = replace(added(found), at=time.monotonic() - _TICK_S)
            colds, losses = own.get("cold_starts", 0), own.get("losses", 0)
            seen = _Seen(_Minute(minute, first, colds, losses), first, (), own)
            with self._lock:
                self._seen[name] = seen
        if seen.minute.began != minute:
            self._close(name, seen, minute)
        if pulse != seen.pulse or not seen.recent:
            own, found = self._boards.read(name)
            last = added(found)
            window = last.since(seen.last)
            seen.minute.peak = max(
                seen.minute.peak, window.requests / max(_TICK_S, window.seconds or 0)
            )
            with self._lock:
                if not seen.recent:
                    seen.recent.append(seen.last)
                seen.recent.append(last)
                while len(seen.recent) > 2 and seen.recent[1].at < last.at - _RECENT_S:
                    seen.recent.popleft()
            seen.last, seen.pulse, seen.own = last, pulse, own
        seen.minute.memory = max(seen.minute.memory, seen.last.memory_bytes)
        seen.minute.replicas = max(seen.minute.replicas, seen.last.replicas)
        self._look_at_cpu(name, seen)

    def _look_at_cpu(self, name: str, seen: _Seen) -> None:
        now = time.monotonic()
        found: dict[int, tuple[float, float, float]] = {}
        for pid, replica in self._boards.replicas(name).items():
            seconds = float(replica["cpu_s"])
            at, before, percent = seen.cpu.get(pid, (now, seconds, 0.0))
            if now - at >= 2.0:
                percent = round(100 * max(0.0, seconds - before) / (now - at), 1)
                at, before = now, seconds
            found[pid] = (at, before, percent)
        with self._lock:
            seen.cpu = found

    def _close(self, name: str, seen: _Seen, following: datetime | None) -> None:
        """Take the minute that has ended down, if there is something to tell."""
        found = _told(name, seen)
        if found is not None:
            self._unstored.append(found)
        if following is not None:
            colds, losses = seen.own.get("cold_starts", 0), seen.own.get("losses", 0)
            with self._lock:
                seen.minute = _Minute(following, seen.last, colds, losses)

    def _store(self) -> None:
        if self._minutes is None:
            self._unstored.clear()
            return
        if self._unstored:
            self._minutes.add(self._unstored)  # what fails is tried again at the next tick
            self._unstored = []
            self._said = ""
        if time.monotonic() - self._pruned >= _PRUNE_EVERY_S:
            self._pruned = time.monotonic()
            self._minutes.prune(self._now() - KEPT)

    def _end(self) -> None:
        for name, seen in self._seen.items():
            self._close(name, seen, None)
        self._store()


def _told(name: str, seen: _Seen) -> DeploymentMinute | None:
    minute = seen.minute
    window = seen.last.since(minute.first)
    colds, losses = seen.own.get("cold_starts", 0), seen.own.get("losses", 0)
    if not window.requests and colds == minute.colds and losses == minute.losses:
        return None
    return DeploymentMinute(
        deployment=name,
        minute=minute.began,
        requests=window.requests,
        errors=window.errors,
        refused=window.counts.refused,
        p50_ms=window.p50_ms,
        p95_ms=window.p95_ms,
        p99_ms=window.p99_ms,
        rps_peak=round(minute.peak, 2),
        cold_starts=max(0, colds - minute.colds),
        memory_bytes=minute.memory,
        cpu_s=round(window.counts.cpu_us / 1e6, 3),
        replicas=minute.replicas,
    )


def _base(recent: deque[Snapshot], since: float) -> Snapshot | None:
    """The last one that is no younger than `since`, else the oldest."""
    found = recent[0] if recent else None
    for each in recent:
        if each.at > since:
            break
        found = each
    return found
