"""What steps reach, and how their jobs are run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from volant.access.desk import AccessDesk
from volant.adapters.local.joblog import JobLog
from volant.app.batches import Deliver
from volant.app.home import Home
from volant.app.jobs import error_of
from volant.app.survival import SURVIVED
from volant.app.workbench import Workbench
from volant.domain.job import Job, JobResult, JobStatus
from volant.domain.run import Run, StepRequest
from volant.errors import Unavailable, VolantError
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.compute import Compute
from volant.ports.files import Files
from volant.ports.replicas import ReplicaLauncher
from volant.registry.desk import ModelDesk
from volant.registry.registration import RegistrationDesk
from volant.serving.desk import DeploymentDesk
from volant.store import Store
from volant.tracking.desk import TrackingDesk
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.runs import TrackedRunDesk
from volant.training.checkpoints import Place
from volant.training.keeper import Keeper
from volant.workflows.desk import RunDesk

Outputs = Mapping[str, Any]
_SERVER_S = 60.0


class Desks(Protocol):
    """What a registered workflow's steps ask of the platform. Some of it is made after the
    executor, so it is looked up when a step needs it."""

    access: AccessDesk
    artifact_files: Files
    experiments: ExperimentDesk
    tracked_runs: TrackedRunDesk
    logged_models: LoggedModelDesk
    registrations: RegistrationDesk
    runs: RunDesk

    def run_loop(self, name: str, principal: str) -> Run: ...


@dataclass(frozen=True)
class Rooms:
    """What the steps' two halves reach."""

    home: Home
    store: Store
    compute: Compute
    launcher: ReplicaLauncher
    artifacts: Artifacts
    models: ModelDesk
    tracking: TrackingDesk
    deployments: DeploymentDesk
    clock: Clock
    tables: str
    keeper: Keeper
    deliver: Deliver  # (dataset, file, key) → the push of the file, once for each key
    workbench: Workbench
    desks: Desks


def server_url(home: Home) -> str:
    """Where this platform answers. A run that goes on after a restart may be faster than
    its door: then this waits. Raises `Unavailable`."""
    deadline = time.monotonic() + _SERVER_S
    while True:
        found = home.server()
        if found.get("pid") == os.getpid():
            return str(found["url"])
        if time.monotonic() >= deadline:
            raise Unavailable(
                "The server's own address isn't known, and the step has to reach it.",
                "Start it with `volant up`, then retry the run.",
            )
        time.sleep(0.05)


@contextmanager
def step_log(rooms: Rooms, request: StepRequest) -> Generator[Callable[[str], None]]:
    """What writes a line into the log of a step that is done here, in the control plane."""
    log = JobLog(request.workdir / "log.jsonl", rooms.clock)
    try:
        yield log.note
    finally:
        log.close()


def run_kept(rooms: Rooms, request: StepRequest, job: Job) -> Outputs:
    """A job with checkpoints: restored before, stored meanwhile. Where it took several
    attempts, the outputs tell of them."""
    place = Place(request.run_id, request.step.name, request.workdir)
    job = replace(job, preemptible=True)
    with rooms.keeper.watch(place, request.attempt, _before(rooms, request)) as watch:
        result = rooms.compute.run(replace(job, env={**job.env, **watch.environment}))
        told = watch.ended(result)
    survived = {SURVIVED: told["survived"]} if told["survived"] else {}
    try:
        return {**outputs_of(request, result), **survived}
    except VolantError as error:
        error.details.update({"progress": told["progress"], **survived})
        raise


def _before(rooms: Rooms, request: StepRequest) -> list[Path]:
    """Where this step worked in the runs that this one repeats, the newest first. Someone
    who names the step to begin from wants it anew."""
    found: list[Path] = []
    run = rooms.store.runs.get(request.run_id)
    while run.retry_of is not None and run.from_step is None:
        found.append(rooms.home.runs / run.retry_of / request.step.name)
        run = rooms.store.runs.get(run.retry_of)
    return found


def outputs_of(request: StepRequest, result: JobResult) -> Outputs:
    """A good end's outputs; another end as the error that it was."""
    step = request.step
    if result.status is JobStatus.SUCCEEDED:
        return result.outputs
    fix = f"See its log: volant logs {request.run_id} --step {step.name}"
    raise error_of(result, f"Step {step.name}", fix)
