"""How soon the platform answers, and what it takes while nobody asks."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import machine
from benchmarks.home import running
from benchmarks.line import Line, Samples
from benchmarks.plain_server import serving

TITLE = "control plane: ready and idle"
SETTLE_S = 10.0


def measure(work: Path, *, quick: bool) -> list[Line]:
    """Starts of `volant up --detach` on new homes and on one that is there; then memory and
    processor time of all its processes, ten seconds after it was ready."""
    starts: list[float] = []
    memory: list[float] = []
    idle: list[float] = []
    times, looks = (1, 1) if quick else (5, 2)
    for i in range(times):
        with running(work / f"up-{i}") as home:
            starts.append(home.start_s)
            if i < looks:
                time.sleep(0 if quick else SETTLE_S)
                memory.append(machine.pss_mb(home.pid))
                idle.append(machine.cpu_percent(home.pid, 0.5 if quick else 10))
    hello = [_hello(quick) for _ in range(times)]
    bare = "uvicorn with a FastAPI hello"
    return [
        Line(
            "control plane ready",
            "s",
            Samples(starts),
            Samples([h[0] for h in hello], bare),
            at_most=3,
            note="from `volant up --detach` to its return, the new home made and migrated",
        ),
        Line(
            "control plane idle memory",
            "MB",
            Samples(memory),
            Samples([h[1] for h in hello], bare),
            at_most=250,
            note="proportional set size of all processes, ten seconds after it was ready",
        ),
        Line("control plane idle processor", "% of a core", Samples(idle)),
    ]


def _hello(quick: bool) -> tuple[float, float]:
    with serving("hello.py", "api") as server:
        time.sleep(0 if quick else 1)
        return server.start_s, machine.pss_mb(server.pid)
