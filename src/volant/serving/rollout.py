"""From a requested revision to a live one: the records' side.

`turn` reads the records and moves each deployment by at most one step. It is called
again and again, also after a crash, so every step is guarded: what is stored already
isn't stored twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.deployment import Deployment, Revision, RevisionStatus
from volant.domain.event import DEPLOYMENT_ACTIVATED, DEPLOYMENT_FAILED, Event
from volant.domain.model import ModelVersion
from volant.errors import Conflict, InvalidInput, NotFound
from volant.faults import crash_point
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.records import DecisionRecords, DeploymentRecords, RevisionRecords
from volant.serving.fleet import Fleet
from volant.serving.replica_handle import ServedVersion
from volant.serving.served import Desired

Models = Callable[[str, int], ModelVersion]

_OPEN = (RevisionStatus.PENDING, RevisionStatus.READY)
_LASTING = (NotFound, Conflict, InvalidInput)  # the same again would fail again


class Outcomes:
    """How candidates fared, from the fleet's thread to the rollout's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, int], str | None] = {}

    def tell(self, version: ServedVersion, problem: str | None) -> None:
        with self._lock:
            self._told[version.deployment, version.revision] = problem

    def take(self, deployment: str, revision: int) -> tuple[bool, str | None]:
        """(is it decided, the problem if there is one); a problem is told once."""
        with self._lock:
            key = (deployment, revision)
            if key not in self._told:
                return False, None
            return True, self._told[key]

    def forget(self, deployment: str, revision: int) -> None:
        with self._lock:
            self._told.pop((deployment, revision), None)


class Rollout:
    def __init__(
        self,
        *,
        deployments: DeploymentRecords,
        revisions: RevisionRecords,
        decisions: DecisionRecords,
        artifacts: Artifacts,
        models: Models,
        clock: Clock,
        fleet: Fleet,
        outcomes: Outcomes,
        tokens: Callable[[], Sequence[str] | None],
    ) -> None:
        self._deployments = deployments
        self._revisions = revisions
        self._decisions = decisions
        self._artifacts = artifacts
        self._models = models
        self._clock = clock
        self._fleet = fleet
        self._outcomes = outcomes
        self._tokens = tokens
        self._known: dict[tuple[str, int], ServedVersion] = {}

    def turn(self) -> int:
        """One pass over all deployments; returns how many there are. Raises what the
        records raise; the next turn tries again."""
        deployments = self._deployments.list()
        tokens = self._tokens()
        self._fleet.desire(
            [self._desired(d) for d in deployments],
            None if tokens is None else frozenset(tokens),
        )
        for deployment in deployments:
            waiting = self._oldest_open(deployment.name)
            if waiting is not None:
                self._advance(deployment, waiting)
        return len(deployments)

    def _desired(self, deployment: Deployment) -> Desired:
        live, problem = None, None
        if deployment.live_revision is not None:
            try:
                live = self._version(
                    deployment, self._live_revision(deployment, deployment.live_revision)
                )
            except _LASTING as error:
                problem = f"Revision {deployment.live_revision} can't be started. {error}"
        return Desired(
            deployment.name, deployment.host, deployment.port, deployment.replicas, live, problem
        )

    def _live_revision(self, deployment: Deployment, number: int) -> Revision | int:
        return (
            number
            if (deployment.name, number) in self._known
            else self._revisions.get(deployment.name, number)
        )

    def _version(self, deployment: Deployment, revision: Revision | int) -> ServedVersion:
        if isinstance(revision, int):
            return self._known[deployment.name, revision]
        known = self._known.get((deployment.name, revision.number))
        if known is not None:
            return known
        model = self._models(deployment.model, revision.model_version)
        version = ServedVersion(
            deployment=deployment.name,
            revision=revision.number,
            model=deployment.model,
            version=revision.model_version,
            model_dir=self._artifacts.local_path(revision.model_uri),
            files=dict(model.files),
        )
        self._known[deployment.name, revision.number] = version
        return version

    def _oldest_open(self, deployment: str) -> Revision | None:
        """Revisions are rolled out one after the other, in the order of their asking."""
        found: Revision | None = None
        cursor: str | None = None
        while True:
            page, cursor = self._revisions.page(deployment, 20, cursor)
            opened = [r for r in page if r.status in _OPEN]
            found = min(opened, key=lambda r: r.number) if opened else found
            # Older pages matter only while each one still held an open revision.
            if not opened or cursor is None:
                return found

    def _advance(self, deployment: Deployment, revision: Revision) -> None:
        try:
            version = self._version(deployment, revision)
        except _LASTING as error:
            self._fail(deployment, revision, str(error))
            return
        decided, problem = self._outcomes.take(deployment.name, revision.number)
        if not decided:
            self._fleet.prepare(version)
        elif problem is not None:
            self._fail(deployment, revision, problem)
        else:
            self._activate(deployment, revision)

    def _activate(self, deployment: Deployment, revision: Revision) -> None:
        crash_point("deploy.ready")
        name, number = deployment.name, revision.number
        try:
            if revision.status is RevisionStatus.PENDING:
                self._revisions.move(revision, RevisionStatus.READY.value)
            ready = replace(revision, status=RevisionStatus.READY)
            reason = (
                f"Revision {number} (version {revision.model_version} of {deployment.model}) "
                f"loaded its model and takes the traffic"
                + (
                    f" over from version {deployment.live_version}."
                    if deployment.live_version is not None
                    else "."
                )
            )
            decision = self._decision(deployment, revision, Outcome.ACTIVATED, reason)
            event = self._event(deployment, revision, DEPLOYMENT_ACTIVATED, reason)
            self._revisions.activate(ready, event, decision)
        except _LASTING as error:
            self._fail(deployment, revision, f"It couldn't go live: {error}")
            return
        crash_point("deploy.activated")
        self._fleet.switch(name, number)
        self._outcomes.forget(name, number)
        self._known = {k: v for k, v in self._known.items() if k[0] != name or k[1] >= number}

    def _fail(self, deployment: Deployment, revision: Revision, problem: str) -> None:
        kept = (
            f" Version {deployment.live_version} serves on."
            if deployment.live_version is not None
            else ""
        )
        reason = (
            f"Revision {revision.number} (version {revision.model_version} of "
            f"{deployment.model}) can't serve: {problem}{kept}"
        )
        self._decisions.record(
            self._decision(deployment, revision, Outcome.FAILED, reason),
            self._event(deployment, revision, DEPLOYMENT_FAILED, reason),
        )
        current = self._revisions.get(deployment.name, revision.number)
        if current.status in _OPEN:
            self._revisions.move(current, RevisionStatus.FAILED.value, reason)
        self._fleet.abandon(deployment.name, revision.number)
        self._outcomes.forget(deployment.name, revision.number)
        self._known.pop((deployment.name, revision.number), None)

    def _decision(
        self, deployment: Deployment, revision: Revision, outcome: Outcome, reason: str
    ) -> Decision:
        return Decision(
            id=f"deploy-{outcome.value}-{identity(revision)}",
            kind=DecisionKind.DEPLOY,
            subject=f"deployment/{deployment.name}",
            outcome=outcome,
            reason=reason,
            time=self._clock.now(),
            loop=deployment.name,
            run_id=run_of(revision.key),
            details=_facts(deployment, revision),
        )

    def _event(self, deployment: Deployment, revision: Revision, kind: str, reason: str) -> Event:
        return Event(
            id=f"evt-{kind.rpartition('.')[2]}-{identity(revision)}",
            type=kind,
            source="volant/serving",
            subject=f"deployment/{deployment.name}",
            time=self._clock.now(),
            data={**_facts(deployment, revision), "reason": reason},
        )


def _facts(deployment: Deployment, revision: Revision) -> dict[str, str | int | None]:
    return {
        "deployment": deployment.name,
        "model": deployment.model,
        "revision": revision.number,
        "version": revision.model_version,
        "previous_revision": deployment.live_revision,
        "previous_version": deployment.live_version,
        "run": run_of(revision.key),
    }


def identity(revision: Revision) -> str:
    """Derived from the revision's key, so that deciding twice stores once."""
    return hashlib.sha256(f"{revision.deployment}\n{revision.key}".encode()).hexdigest()[:20]


def run_of(key: str) -> str | None:
    """The run in a key `<run>:<step>`; None for a key that a person gave."""
    run, colon, _ = key.partition(":")
    return run if colon and run else None
