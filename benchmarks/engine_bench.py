"""An engine on a SQLite file with runs of a chain of steps, for the figures of steps."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.domain.run import Run, RunStatus, StepRequest
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.workflows.plan import plan_workflow

Perform = Callable[[StepRequest], Mapping[str, Any]]


@dataclass
class Executor:
    """Does `work` for every step and stores nothing."""

    work: Perform

    def perform(self, request: StepRequest) -> Mapping[str, Any]:
        return self.work(request)

    def commit(self, request: StepRequest, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return outputs


@dataclass
class Chains:
    """Runs chains on an open engine and times them."""

    engine: DbosEngine
    runs: dict[str, Run]
    ends: dict[str, threading.Event] = field(default_factory=dict)
    _count: Any = field(default_factory=itertools.count)

    def seconds(self, steps: int, **more: Any) -> float:
        """From the wish to the end of a run of `steps` steps, one after the other."""
        run = _chain(f"bench-{next(self._count)}", steps, more)
        self.runs[run.id] = run
        ended = self.ends[run.id] = threading.Event()
        began = time.perf_counter()
        self.engine.start(run)
        if not ended.wait(120):
            raise TimeoutError(f"run {run.id} didn't end")
        took = time.perf_counter() - began
        while (status := self.engine.states([run.id])[run.id].status) is RunStatus.RUNNING:
            time.sleep(0.001)
        if status is not RunStatus.SUCCEEDED:
            raise RuntimeError(f"run {run.id} ended as {status}")
        return took


def _chain(run_id: str, steps: int, more: Mapping[str, Any]) -> Run:
    specs = tuple(
        StepSpec(name=f"s{i}", needs=(f"s{i - 1}",) if i else (), **{"call": "noop:step", **more})
        for i in range(steps)
    )
    return Run(run_id, WorkflowSpec("bench", specs, {}), datetime.now(UTC))


@contextmanager
def chains(home: Path, work: Perform) -> Generator[Chains]:
    """An engine as the platform opens it, in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    runs: dict[str, Run] = {}
    ends: dict[str, threading.Event] = {}
    engine = DbosEngine(
        f"sqlite:///{home / 'runs.db'}",
        Executor(work),
        home,
        runs.__getitem__,
        plan_workflow,
        workers=2,
        on_end=lambda run_id, _status, _error: ends[run_id].set(),
    )
    engine.launch()
    try:
        yield Chains(engine, runs, ends)
    finally:
        engine.close()
