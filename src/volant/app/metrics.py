"""The platform's own metrics, beside those of its deployments."""

from __future__ import annotations

import os
import platform as machine
import resource
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volant import __version__
from volant.domain.dataset import Dataset
from volant.domain.event import RUN_FINISHED, Event
from volant.serving.exposition import Exposition, Labels, negotiated
from volant.serving.metrics import Counted, tell

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATES = ("serving", "idle", "starting", "failing", "unloaded", "unknown")


class Tallies:
    """What happened since the start, counted from the events that tell of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()

    def count(self, event: Event) -> None:
        """Take an event that was stored."""
        with self._lock:
            self._events[event.type] += 1
            if event.type == RUN_FINISHED:
                self._runs[str(event.data.get("status"))] += 1

    def events(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._events)

    def runs(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._runs)


def exposed(
    accept: str,
    *,
    counted: Sequence[Counted],
    deployments: Sequence[Mapping[str, Any]],
    datasets: Sequence[Dataset],
    running: Mapping[str, int],
    pending: int,
    tallies: Tallies,
) -> tuple[bytes, str]:
    """The text and its content type, for a request's `Accept` header.

    Args:
        counted: Each deployment's numbers.
        deployments: As the desk lists them.
        running: Runs under way, by status.
        pending: Events that wait for their dispatch.
        tallies: What was counted since the start.
    """
    into = Exposition(openmetrics=negotiated(accept))
    into.info(
        "volant_build",
        "What runs here.",
        {"version": __version__, "python": machine.python_version()},
    )
    _process(into)
    into.gauge(
        "volant_runs",
        "Runs under way, by status.",
        [({"status": status}, count) for status, count in sorted(running.items())],
    )
    into.counter(
        "volant_runs_finished",
        "Runs that ended since the start, by status.",
        _by("status", tallies.runs()),
    )
    into.counter(
        "volant_events", "Events stored since the start, by type.", _by("type", tallies.events())
    )
    into.gauge("volant_events_pending", "Events that wait for their dispatch.", [({}, pending)])
    _datasets(into, datasets)
    into.gauge(
        "volant_deployment_state",
        "1 for the state that each deployment is in.",
        [
            ({"deployment": each["name"], "state": state}, int(each["status"] == state))
            for each in deployments
            for state in _STATES
        ],
    )
    tell(into, counted)
    return into.body(), into.content_type


def _by(label: str, counts: Mapping[str, int]) -> list[tuple[Labels, float]]:
    return [({label: name}, count) for name, count in sorted(counts.items())]


def _datasets(into: Exposition, datasets: Sequence[Dataset]) -> None:
    def each(field: str) -> list[tuple[Labels, float]]:
        return [({"dataset": d.name}, getattr(d, field) or 0) for d in datasets]

    into.gauge("volant_dataset_version", "Its newest version.", each("latest_version"))
    into.gauge("volant_dataset_rows", "Rows in its newest version.", each("rows"))
    into.gauge("volant_dataset_quarantined_rows", "Rows set aside.", each("quarantined"))


def _process(into: Exposition) -> None:
    """The control plane's process, under the names that every exporter uses."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    used = resource.getrusage(resource.RUSAGE_SELF)
    into.counter(
        "process_cpu_seconds",
        "Processor time of the control plane.",
        [({}, used.ru_utime + used.ru_stime)],
    )
    into.gauge(
        "process_resident_memory_bytes",
        "Memory of the control plane.",
        [({}, int(fields[21]) * _PAGE)],
    )
    into.gauge(
        "process_start_time_seconds",
        "When the control plane was started, since 1970.",
        [({}, round(boot + int(fields[19]) / _TICKS, 2))],
    )
    into.gauge(
        "process_open_fds",
        "Files and sockets it has open.",
        [({}, len(list(Path("/proc/self/fd").iterdir())))],
    )
    into.gauge(
        "process_max_fds",
        "Files and sockets it may have open.",
        [({}, resource.getrlimit(resource.RLIMIT_NOFILE)[0])],
    )
