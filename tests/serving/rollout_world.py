"""A rollout over real records, with a fleet and a clock of plain objects.

The fleet remembers what it was told and counts what a test says; everything that is
stored is stored for real.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from volant.domain.event import Event
from volant.domain.loop import ReplicaSpec
from volant.domain.model import Lineage, ModelVersion, Signature, Stage
from volant.errors import NotFound
from volant.serving.baking import Baking
from volant.serving.desk import DeploymentDesk
from volant.serving.latency import BOUNDS_US, BUCKETS
from volant.serving.rollout import Outcomes, Rollout
from volant.serving.snapshot import Snapshot
from volant.serving.trouble import Trouble
from volant.store import Store
from volant.testing.samples import NOW


class Died(BaseException):
    """Stands for kill −9: nobody catches it."""


class PlainClock:
    def __init__(self) -> None:
        self.time: datetime = NOW

    def now(self) -> datetime:
        self.time += timedelta(microseconds=1)
        return self.time

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class PlainFleet:
    """Counters outlive a rollout, as those of a fleet do, unless `forget` is called."""

    def __init__(self) -> None:
        self.desired = {}
        self.prepared: list[tuple[str, int]] = []
        self.abandoned: list[tuple[str, int]] = []
        self.counted: dict[tuple[str, int], Snapshot] = {}
        self.troubles: dict[tuple[str, int], Trouble] = {}

    def desire(self, desired, tokens) -> None:
        self.desired = {each.name: each for each in desired}

    def prepare(self, version) -> None:
        self.prepared.append((version.deployment, version.revision))

    def abandon(self, deployment, revision) -> None:
        self.abandoned.append((deployment, revision))

    def switch(self, deployment, revision) -> None:
        pass

    def measure(self, deployment, revision) -> Snapshot:
        return self.counted.get((deployment, revision), Snapshot(revision=revision))

    def trouble(self, deployment, revision) -> Trouble | None:
        return self.troubles.get((deployment, revision))

    def waits(self, deployment, revision, *ages) -> None:
        """These requests are under way, for so many seconds."""
        before = self.measure(deployment, revision)
        self.counted[deployment, revision] = replace(before, waiting=ages)

    def answers(self, deployment, revision, count, *, failed=0, ms=1.0) -> None:
        """`count` more requests, so many of them failed, each of `ms` milliseconds."""
        before = self.measure(deployment, revision)
        latency = list(before.latency)
        place = next((i for i, us in enumerate(BOUNDS_US) if us >= ms * 1000), BUCKETS - 1)
        latency[place] += count
        self.counted[deployment, revision] = Snapshot(
            revision=revision,
            at=before.at + 1,
            answered=before.answered + count,
            failed=before.failed + failed,
            latency=tuple(latency),
        )

    def table(self, name) -> dict[int, tuple[str, float]]:
        """Revision → (mode, percent), the live one with 100."""
        one = self.desired[name]
        found = {o.version.revision: (o.mode, o.percent) for o in one.others}
        if one.live is not None:
            found[one.live.revision] = ("live", 100.0)
        return found


class PlainArtifacts:
    def __init__(self) -> None:
        self.gone: set[str] = set()

    def local_path(self, uri: str) -> Path:
        if uri in self.gone:
            raise NotFound(f"There are no artifacts at {uri}.", "Restore them.")
        return Path("/nowhere") / uri


class World:
    """One deployment `m` of the model `m`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = PlainClock()
        self.fleet = PlainFleet()
        self.artifacts = PlainArtifacts()
        self.desk = DeploymentDesk(
            store.deployments, store.revisions, self._model, self.clock, controller=None
        )
        self.restart()

    def _model(self, model, version):
        if version == "latest":
            return self.store.models.page(1, model=model)[0][0]
        return self.store.models.get(model, int(version))

    def restart(self, kept: Path | None = None) -> None:
        """As after a crash: only the records are left, and counters begin anew. With
        `kept`, counters stay, and the rollout keeps its steps in that file."""
        self.outcomes = Outcomes()
        if kept is None:
            self.fleet.counted.clear()
        self.rollout = Rollout(
            deployments=self.store.deployments,
            revisions=self.store.revisions,
            artifacts=self.artifacts,
            models=self._model,
            clock=self.clock,
            fleet=self.fleet,
            outcomes=self.outcomes,
            tokens=lambda: None,
            baking=Baking(kept),
        )

    def register(self, *, stage: Stage = Stage.CANDIDATE) -> int:
        run = f"run-{self.clock.now().timestamp()}"
        version = ModelVersion(
            model="m",
            version=0,
            stage=stage,
            uri=f"models/m/{run}",
            files={},
            signature=Signature((), (), "classification"),
            metrics={},
            lineage=Lineage(run, "d", 1, "h", "c", "e"),
            created_at=self.clock.now(),
        )
        event = Event(f"evt-{run}", "volant.model.registered", "t", "m", self.clock.now())
        return self.store.models.register(version, event).version

    def ask(self, version: int | None = None, rollout="now", **more):
        """Ask for a version (a new one if None is given)."""
        version = self.register() if version is None else version
        if "replicas" not in more and not self.store.deployments.list():
            more["replicas"] = ReplicaSpec()
        return self.desk.request("m", "m", version, rollout=rollout, **more)

    def ready(self, revision: int, problem: str | None = None) -> None:
        """Its candidate has loaded, or hasn't."""

        class Version:
            deployment = "m"

        Version.revision = revision
        self.outcomes.tell(Version, problem)

    def live(self, rollout="now", **more) -> int:
        """A new version all the way to live; its revision."""
        number = self.ask(rollout=rollout, **more).number
        self.ready(number)
        self.rollout.turn()
        return number

    def revision(self, number: int):
        return self.store.revisions.get("m", number)

    def status(self, number: int) -> str:
        return self.revision(number).status.value

    def decisions(self) -> list:
        """Oldest first."""
        return list(reversed(self.store.decisions.page(500, loop="m")[0]))

    def outcomes_told(self) -> list[str]:
        return [d.outcome.value for d in self.decisions()]
