"""Where a job runs: in a container if it has an image, else where the settings say."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from volant.adapters.container.compute import ContainerCompute
from volant.adapters.local.spot import Spot
from volant.app.home import Home
from volant.domain.job import Job, JobResult
from volant.plugins import load
from volant.ports.compute import Compute
from volant.ports.replicas import ReplicaLauncher
from volant.settings import Settings


class Places:
    """`Compute` that hands each job to the compute it is for. Only `Job.image` is read."""

    def __init__(self, here: Compute, containers: Compute) -> None:
        self._here = here
        self._containers = containers

    def run(self, job: Job) -> JobResult:
        return (self._containers if job.image else self._here).run(job)

    def cancel(self, run_id: str) -> None:
        self._here.cancel(run_id)
        self._containers.cancel(run_id)

    def warm(self, profile: str) -> None:
        self._here.warm(profile)

    def close(self) -> None:
        self._here.close()
        self._containers.close()


def open_places(settings: Settings, launcher: ReplicaLauncher, home: Home) -> Places:
    """The platform's compute. Containers that its last life left are removed meanwhile."""
    here = load("compute", settings.compute, launcher=launcher, **preemption(settings))
    containers: ContainerCompute = load(
        "compute", "container", home=home.root, engine=settings.container_engine
    )
    threading.Thread(target=containers.recover, name="volant-leftovers", daemon=True).start()
    return Places(here, containers)


def preemption(settings: Settings) -> Mapping[str, Any]:
    """What compute is made with, beside what every compute needs. Only the local one knows
    of these; another one gets nothing that nobody has set."""
    found: dict[str, Any] = {}
    if settings.compute == "local":
        found["preempt_grace_s"] = settings.preempt_grace_s
    if settings.spot_every_s is not None:
        found["spot"] = Spot(settings.spot_every_s, settings.spot_seed)
    return found
