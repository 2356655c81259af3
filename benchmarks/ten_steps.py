"""A run of ten steps from the wish to its end: in process, and each in a fork of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.durable_step import commit_ms
from benchmarks.engine_bench import chains
from benchmarks.line import Line, Samples
from volant.actions import PROFILES
from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.zygote import ZygoteLauncher
from volant.app.steps import run_job

TITLE = "10-step run end to end"
STEPS = 10
PROGRAMS = Path(__file__).parent / "programs"


def measure(work: Path, *, quick: bool) -> list[Line]:
    """The same chain twice: steps that only return, and steps as jobs of the `train` zygote,
    the largest there is."""
    steps, times = (2, 1) if quick else (STEPS, 9)
    modules = ("json",) if quick else PROFILES["train"]
    with chains(work / "in-process", lambda _request: {}) as bench:
        bench.seconds(steps)
        direct = [bench.seconds(steps) for _ in range(times)]
    forked = _forked(work / "forked", modules, steps, times)
    forks = Samples(
        _floor(modules, steps, times), f"{steps} × os.fork and wait, in a process of the same size"
    )
    commits = Samples(
        [commit_ms(work / f"floor-{i}.db", steps) * steps / 1000 for i in range(times)],
        f"{steps} SQLite commits, same pragmas",
    )
    starts = Samples(
        [_subprocesses(steps) for _ in range(1 if quick else 5)],
        f"{steps} × subprocess `python -c pass`, nothing imported, nothing durable",
    )
    return [
        Line(f"{steps}-step run, in process", "s", Samples(direct), commits),
        Line(f"{steps}-step run, forked steps", "s", Samples(forked), forks, starts),
    ]


def _forked(home: Path, modules: tuple[str, ...], steps: int, times: int) -> list[float]:
    launcher = ZygoteLauncher({"train": modules, "command": ()})
    compute = LocalCompute(launcher)
    env = {"PYTHONPATH": str(PROGRAMS)}
    try:
        with chains(home, lambda request: run_job(compute, request, request.inputs)) as bench:
            bench.seconds(steps, env=env)  # the zygote imports its modules
            bench.seconds(steps, env=env)
            return [bench.seconds(steps, env=env) for _ in range(times)]
    finally:
        compute.close()
        launcher.close()


def _floor(modules: tuple[str, ...], steps: int, times: int) -> list[float]:
    command = [sys.executable, str(PROGRAMS / "forks.py"), str(steps), str(times), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def _subprocesses(count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began
