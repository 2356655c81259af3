"""Volant, as its control plane opens the engine: `python -m benchmarks.workflows.ours SHAPE
STATE ROUNDS`, as a peer's program does. Steps are forks of a zygote; with `PEER_ISOLATED`
empty, functions in the control plane."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.workflows.peers.timing import main
from volant.adapters.dbos_engine.engine import DbosEngine
from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.zygote import ZygoteLauncher
from volant.adapters.system import SystemClock
from volant.app.home import Home
from volant.app.jobs import job_of
from volant.app.reuse import StepReuse
from volant.domain.job import JobStatus
from volant.domain.run import Run, RunStatus, StepRequest
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.store import Store, sqlite_url
from volant.workflows.plan import plan_workflow

WIDTH = 10
PROFILE = "step"
IMPORTS = ("json",)
ISOLATED = bool(os.environ.get("PEER_ISOLATED"))
PROGRAMS = Path(__file__).parents[1] / "programs"


@dataclass
class Executor:
    """Each step is a job, or nothing at all."""

    compute: LocalCompute

    def perform(self, request: StepRequest) -> Mapping[str, Any]:
        if not ISOLATED:
            return dict(request.inputs)
        step = request.step
        job = job_of(request, request.inputs, entry=step.call, profile=PROFILE, env=step.env)
        result = self.compute.run(job)
        if result.status is not JobStatus.SUCCEEDED:
            raise RuntimeError(f"{job.id}: {result}")
        return result.outputs

    def commit(self, request: StepRequest, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return outputs


@dataclass
class Bench:
    """An engine in a home, and its runs."""

    home: Path
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    ends: dict[str, threading.Event] = field(default_factory=dict[str, threading.Event])
    numbers: Any = field(default_factory=itertools.count)

    def open(self) -> None:
        self.launcher = ZygoteLauncher({PROFILE: IMPORTS})
        self.compute = LocalCompute(self.launcher)
        store = Store(sqlite_url(self.home / "volant.db"))
        store.migrate()
        self.store = store
        reuse = StepReuse(
            store.step_cache,
            Home(self.home),
            SystemClock(),
            tree_hash=lambda _project, _name, version: version,
            holds=lambda _request, _outputs: True,
        )
        self.engine = DbosEngine(
            sqlite_url(self.home / "runs.db"),
            Executor(self.compute),
            self.home,
            self.runs.__getitem__,
            plan_workflow,
            workers=2,  # as the platform by default
            on_end=lambda run_id, _status, _error: self.ends[run_id].set(),
            reuse=reuse,
        )
        self.engine.launch()

    def close(self) -> None:
        self.engine.close()
        self.compute.close()
        self.launcher.close()
        self.store.close()

    def run(self, shape: str, cached: bool) -> None:
        """From the wish to the end that `states` shows."""
        run_id = f"bench-{next(self.numbers)}"
        ended = self.ends[run_id] = threading.Event()
        self.runs[run_id] = run = Run(run_id, _workflow(shape, cached), datetime.now(UTC))
        self.engine.start(run)
        if not ended.wait(120):
            raise TimeoutError(f"run {run_id} didn't end")
        while (state := self.engine.states([run_id])[run_id]).status is RunStatus.RUNNING:
            ended.wait(0.001)
        if state.status is not RunStatus.SUCCEEDED:
            raise RuntimeError(f"run {run_id}: {state}")


def _workflow(shape: str, cached: bool) -> WorkflowSpec:
    env = {"PYTHONPATH": str(PROGRAMS)}
    steps = tuple(
        StepSpec(
            name=f"s{index}",
            call="noop:step",
            inputs={"number": index},
            needs=(f"s{index - 1}",) if index and shape == "chain" else (),
            cache=cached,
            env=env,
        )
        for index in range(WIDTH)
    )
    return WorkflowSpec(shape, steps)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=os.environ.get("VOLANT_BENCH_HOME")) as folder:
        bench = Bench(Path(folder))
        bench.open()
        try:
            main(bench.run)
        finally:
            bench.close()
