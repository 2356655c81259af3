"""A search's trials on the disk: one file a trial, one JSON line an event.

Each file has one writer, the trial's process; once that has died, the one that follows it.
So nothing needs a lock, a process may die between any two lines, and a line that it was
writing just then is no line. The search is what these files say: sampler and pruner are
told from them anew, whoever died.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMPLETE, PRUNED, FAILED, RUNNING = "complete", "pruned", "failed", "running"
STATES = (COMPLETE, PRUNED, FAILED, RUNNING)


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement on the way; `at` in milliseconds since 1970."""

    key: str
    value: float
    step: int
    at: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial as far as it is known.

    `drawn` is what the sampler chose, `params` what the function got of that. `reports` are
    what the pruner judges, by step; `stop`: at the last of them it gave the trial up.
    `attrs` are the sampler's and pruner's own notes. `begun` counts the processes that
    worked on it."""

    number: int
    state: str = RUNNING
    begun: int = 0
    started: int = 0
    ended: int | None = None
    drawn: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reports: Mapping[int, Point] = field(default_factory=dict[int, Point])
    stop: bool = False
    points: tuple[Point, ...] = ()
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str | None = None

    @property
    def seen(self) -> int:
        """When it was last heard of, in milliseconds since 1970."""
        last = [point.at for point in (*self.reports.values(), *self.points)]
        return max([self.ended or 0, self.started, *last])


class Records:
    """The files of one search. Reading again costs only what has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[int, Trial]] = {}

    def path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.jsonl"

    def all(self) -> list[Trial]:
        """Every trial that has begun, by number."""
        try:
            paths = sorted(path for path in self.folder.iterdir() if path.suffix == ".jsonl")
        except FileNotFoundError:
            return []
        return [self._read(path) for path in paths]

    def get(self, number: int) -> Trial:
        """One trial; blank when it hasn't begun."""
        path = self.path(number)
        return self._read(path) if path.exists() else Trial(number)

    def _read(self, path: Path) -> Trial:
        size = path.stat().st_size
        known = self._known.get(path)
        if known is None or known[0] != size:
            known = size, read_trial(path)
            self._known[path] = known
        return known[1]

    def write(self, number: int, event: str, **facts: Any) -> None:
        """Append one event; it is in the file, whole, when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, "at": now_ms(), **facts}).encode() + b"\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self.path(number), flags, 0o644)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # what the process before was writing when it died
            while line:
                line = line[os.write(file, line) :]
        finally:
            os.close(file)

    def end(self, number: int, state: str, **facts: Any) -> None:
        """The trial's last word; a later one counts for nothing."""
        self.write(number, "ended", state=state, **facts)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_trial(path: Path) -> Trial:
    """What a file tells, half a line left out."""
    found: dict[str, Any] = {"number": int(path.stem), "begun": 0}
    reports: dict[int, Point] = {}
    points: list[Point] = []
    for raw in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        event, at = line["event"], int(line["at"])
        if event == "measured":
            points.append(_point(line, at))
        elif event == "reported":
            point = _point(line, at)
            reports[point.step] = point
            found |= {"attrs": line["attrs"], "stop": line["stop"]}
        elif event == "began":
            found["begun"] += 1
            found.setdefault("started", at)
        elif event == "asked":
            found |= {key: line[key] for key in ("drawn", "params", "attrs")}
        elif event == "ended":
            told = {key: line[key] for key in ("state", "value", "metrics", "error") if key in line}
            found |= {"ended": at, **told}
            break  # a later word counts for nothing
    return Trial(**found, reports=reports, points=tuple(points))


def _point(line: Mapping[str, Any], at: int) -> Point:
    return Point(line["key"], float(line["value"]), int(line["step"]), at)


def best_of(trials: list[Trial], *, greater: bool) -> Trial | None:
    """The best complete one; the earlier of equals."""
    known = [t for t in trials if t.state == COMPLETE and t.value is not None]
    sign = -1.0 if greater else 1.0
    return min(known, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)
