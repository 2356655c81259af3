"""From a requested revision to a live one: the records' side.

    pending ─ ready ─ (shadow) ─ (canary 10 %, 50 %, …) ─ live ─ retired
       └────────┴─────────┴────── failed or aborted

`turn` reads the records and moves each deployment by at most one step. It is called
again and again, also after a crash, so every step is one guarded transaction: what is
stored already isn't stored twice. What a revision counted before a crash is lost, so a
step that one interrupts bakes again from its beginning; see `baking`.

The newest revision wins: once it is ready, older ones that aren't live are aborted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from volant.domain.decision import DecisionKind, Outcome
from volant.domain.deployment import (
    OPEN,
    ROLLING,
    WAITING,
    Deployment,
    Revision,
    RevisionStatus,
)
from volant.domain.event import (
    DEPLOYMENT_ABORTED,
    DEPLOYMENT_ACTIVATED,
    DEPLOYMENT_ADVANCED,
    DEPLOYMENT_FAILED,
    DEPLOYMENT_REVERTED,
    DEPLOYMENT_SETTLED,
)
from volant.domain.model import ModelVersion
from volant.errors import Conflict, InvalidInput, NotFound
from volant.faults import crash_point
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.records import DeploymentRecords, RevisionRecords
from volant.serving.baking import Baking
from volant.serving.desired import Desired, Mode, Other, at_rest
from volant.serving.judgement import Judgement, judge
from volant.serving.previous import brought_back, previous
from volant.serving.replica_handle import ServedVersion
from volant.serving.snapshot import Snapshot
from volant.serving.stages import stages
from volant.serving.told import ahead, going, named, serves_on, share, told
from volant.serving.trouble import Trouble

Models = Callable[[str, int], ModelVersion]

_LASTING = (NotFound, Conflict, InvalidInput)  # the same again would fail again
_MODES: dict[RevisionStatus, Mode] = {
    RevisionStatus.CANARY: "canary",
    RevisionStatus.SHADOW: "shadow",
}


class Fleet(Protocol):
    """The parts of `serving.fleet.Fleet` that the rollout needs."""

    def desire(self, desired: Sequence[Desired], tokens: frozenset[str] | None) -> None: ...

    def prepare(self, version: ServedVersion) -> None: ...

    def abandon(self, deployment: str, revision: int) -> None: ...

    def switch(self, deployment: str, revision: int) -> None: ...

    def measure(self, deployment: str, revision: int) -> Snapshot: ...

    def trouble(self, deployment: str, revision: int) -> Trouble | None: ...


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
        artifacts: Artifacts,
        models: Models,
        clock: Clock,
        fleet: Fleet,
        outcomes: Outcomes,
        tokens: Callable[[], Sequence[str] | None],
        baking: Baking | None = None,
    ) -> None:
        self._deployments = deployments
        self._revisions = revisions
        self._artifacts = artifacts
        self._models = models
        self._clock = clock
        self._fleet = fleet
        self._outcomes = outcomes
        self._tokens = tokens
        self._known: dict[tuple[str, int], ServedVersion] = {}
        self._baking = baking or Baking()

    def turn(self) -> int:
        """One pass over all deployments; returns how many there are. Raises what the
        records raise; the next turn tries again."""
        deployments, active = self._look()
        moved = [self._step(d, active.get(d.name, [])) for d in deployments]
        if any(moved):  # who answers has changed: tell the fleet now, not at the next turn
            self._look()
        return len(deployments)

    def keep(self) -> None:
        """Store where the present steps stand. Call it at an orderly end, when no `turn`
        runs any more and the fleet still does."""
        self._baking.keep(self._clock.now(), self._fleet.measure)

    # what the fleet shall do

    def _look(self) -> tuple[Sequence[Deployment], Mapping[str, list[Revision]]]:
        deployments = self._deployments.list()
        active: dict[str, list[Revision]] = {}
        for revision in self._revisions.active():
            active.setdefault(revision.deployment, []).append(revision)
        self._baking.keep_only(
            (r.deployment, r.number) for each in active.values() for r in each if r.since
        )
        tokens = self._tokens()
        wanted = [self._desired(d, active.get(d.name, [])) for d in deployments]
        self._fleet.desire(wanted, None if tokens is None else frozenset(tokens))
        return deployments, active

    def _desired(self, deployment: Deployment, active: Sequence[Revision]) -> Desired:
        live, problem = None, None
        others: list[Other] = []
        rolling = _first(active, ROLLING)
        for revision in active:
            try:
                if revision.status is RevisionStatus.LIVE:
                    live = self._version(deployment, revision)
                elif revision is rolling:
                    version = self._version(deployment, revision)
                    others.append(Other(version, revision.percent or 0.0, _MODES[revision.status]))
            except _LASTING as error:
                if revision is not rolling:
                    problem = f"Revision {revision.number} can't be started. {error}"
        others += self._held(deployment, {r.model_version for r in active if r.status in _SERVING})
        numbers = {r.number for r in active} | {o.version.revision for o in others}
        self._known = {
            key: version
            for key, version in self._known.items()
            if key[0] != deployment.name or key[1] in numbers
        }
        desired = Desired(
            name=deployment.name,
            host=deployment.host,
            port=deployment.port,
            replicas=deployment.replicas,
            live=live,
            problem=problem,
            others=tuple(others),
            sticky=rolling.rollout.sticky if rolling and rolling.rollout else None,
            log=deployment.settings.log,
        )
        return desired if deployment.settings.loaded else at_rest(desired)

    def _held(self, deployment: Deployment, served: set[int]) -> list[Other]:
        """Versions that were live before, still reachable by their number."""
        keep = deployment.settings.keep
        if not keep:
            return []
        found: list[Other] = []
        for revision in self._revisions.retired(deployment.name, keep * 4):
            if len(found) == keep:
                break
            if revision.model_version in served:
                continue
            served.add(revision.model_version)
            try:
                found.append(Other(self._version(deployment, revision), 0.0, "held"))
            except _LASTING:
                continue  # its files are gone: it isn't promised
        return found

    def _version(self, deployment: Deployment, revision: Revision) -> ServedVersion:
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
            profile=_profile(model),
        )
        self._known[deployment.name, revision.number] = version
        return version

    # steps

    def _step(self, deployment: Deployment, active: Sequence[Revision]) -> bool:
        """Whether it changed who answers."""
        waiting = _last(active, WAITING)
        if waiting is not None and self._candidate(deployment, waiting, active):
            return True
        rolling = _first(active, ROLLING)
        if rolling is not None:
            return self._bake(deployment, rolling)
        live = _first(active, {RevisionStatus.LIVE})
        if live is not None and live.since is not None:
            return self._prove(deployment, live)
        return False

    def _candidate(
        self, deployment: Deployment, revision: Revision, active: Sequence[Revision]
    ) -> bool:
        try:
            version = self._version(deployment, revision)
        except _LASTING as error:
            self._fail(deployment, revision, str(error))
            return False
        decided, problem = self._outcomes.take(deployment.name, revision.number)
        if not decided:
            self._fleet.prepare(version)
            return False
        if problem is not None:
            self._fail(deployment, revision, problem)
            return False
        crash_point("deploy.ready")
        if revision.status is RevisionStatus.PENDING:
            self._revisions.move(revision, RevisionStatus.READY.value)
            revision = replace(revision, status=RevisionStatus.READY)
        for older in active:
            if older.status in OPEN and older.number < revision.number:
                why = f"{named(deployment, revision)} was asked for after it"
                self._abort(deployment, older, f"{why} and takes its place.")
        self._advance(deployment, revision, 0, None)
        return True

    def _advance(
        self, deployment: Deployment, revision: Revision, step: int, seen: Judgement | None
    ) -> None:
        """To the step of its rollout, or live after the last one. The first revision of a
        deployment has nobody to share with."""
        spec = revision.rollout
        every = stages(spec) if spec and deployment.live_revision is not None else ()
        if spec is None or step >= len(every):
            self._activate(deployment, revision, seen)
            return
        stage, now = every[step], self._clock.now()
        to = replace(revision, status=stage.status, step=step, percent=stage.percent, since=now)
        began = "loaded its model and" if seen is None else "did well and"
        reason = f"{named(deployment, revision)} {began} {share(stage)} {ahead(spec, step)}."
        decision, event = told(
            deployment,
            revision,
            Outcome.ADVANCED,
            DEPLOYMENT_ADVANCED,
            reason=reason,
            now=now,
            rules=seen.rules if seen else (),
            details={"percent": stage.percent, "mode": stage.status.value, "step": step},
            part=str(step),
        )
        before = self._fleet.measure(deployment.name, revision.number)
        if self._revisions.roll(revision, to, event, decision):
            self._baking.begin((deployment.name, revision.number), now, before)
        crash_point("rollout.advanced")
        self._outcomes.forget(deployment.name, revision.number)

    def _activate(self, deployment: Deployment, revision: Revision, seen: Judgement | None) -> None:
        name, number = deployment.name, revision.number
        bakes = revision.rollout is not None and deployment.live_revision is not None
        over = (
            f" over from version {deployment.live_version}."
            if deployment.live_version is not None
            else "."
        )
        began = "loaded its model and" if seen is None else "did well and"
        reason = f"{named(deployment, revision)} {began} takes the traffic{over}"
        decision, event = told(
            deployment,
            revision,
            Outcome.ACTIVATED,
            DEPLOYMENT_ACTIVATED,
            reason=reason,
            now=self._clock.now(),
            rules=seen.rules if seen else (),
        )
        try:
            before = self._fleet.measure(name, number)
            if self._revisions.activate(revision, event, decision, bakes=bakes) and bakes:
                self._baking.begin((name, number), decision.time, before)
        except _LASTING as error:
            self._fail(deployment, revision, f"It couldn't go live: {error}")
            return
        crash_point("deploy.activated")
        self._fleet.switch(name, number)
        self._outcomes.forget(name, number)

    def _bake(self, deployment: Deployment, revision: Revision) -> bool:
        try:
            self._version(deployment, revision)
        except _LASTING as error:
            self._abort(deployment, revision, f"It can't be started: {error}")
            return True
        spec = revision.rollout
        if spec is None:  # what rolls has one; a row that somebody altered goes live
            self._activate(deployment, revision, None)
            return True
        seen, over = self._seen(revision)
        if seen.broken is not None:
            crash_point("rollout.judged")
            self._abort(deployment, revision, f"{_sentence(seen.broken)}", seen)
            return True
        if over:
            self._advance(deployment, revision, (revision.step or 0) + 1, seen)
        return over

    def _seen(self, revision: Revision) -> tuple[Judgement, bool]:
        """How it does in its present step, and whether it may go on to the next."""
        now = self._clock.now()
        counted = self._fleet.measure(revision.deployment, revision.number)
        step = self._baking.of(revision, now, counted)
        spec = revision.rollout
        assert spec is not None  # callers have looked
        trouble = self._fleet.trouble(revision.deployment, revision.number)
        over_s = (now - step.began).total_seconds() - spec.bake_s
        seen = judge(spec, counted.since(step.before), over_s=over_s, trouble=trouble)
        return seen, over_s >= 0 and not seen.early

    def _prove(self, deployment: Deployment, revision: Revision) -> bool:
        """The last bake, with all the traffic: after it the revision stays."""
        if revision.rollout is None:
            return False
        seen, over = self._seen(revision)
        if seen.broken is not None:
            crash_point("rollout.judged")
            return self._revert(deployment, revision, seen)
        if not over:
            return False
        reason = f"{named(deployment, revision)} proved itself with all the traffic and stays."
        decision, event = told(
            deployment,
            revision,
            Outcome.SETTLED,
            DEPLOYMENT_SETTLED,
            reason=reason,
            now=self._clock.now(),
            rules=seen.rules,
        )
        self._revisions.settle(revision, event, decision)
        self._baking.forget((deployment.name, revision.number))
        return False

    # ends

    def _abort(
        self, deployment: Deployment, revision: Revision, why: str, seen: Judgement | None = None
    ) -> None:
        was = f" {going(revision)}" if revision.status in ROLLING else " before it had traffic"
        reason = f"{named(deployment, revision)} was given up{was}. {why}{serves_on(deployment)}"
        decision, event = told(
            deployment,
            revision,
            Outcome.ABORTED,
            DEPLOYMENT_ABORTED,
            reason=reason,
            now=self._clock.now(),
            kind=DecisionKind.ROLLBACK,
            rules=seen.rules if seen else (),
        )
        self._revisions.end(revision, RevisionStatus.ABORTED.value, reason, event, decision)
        crash_point("rollout.aborted")
        self._let_go(deployment, revision)

    def _revert(self, deployment: Deployment, revision: Revision, seen: Judgement) -> bool:
        """All traffic back to the version before, as a new revision."""
        now = self._clock.now()
        target = previous(self._revisions, revision)
        back = None if target is None else brought_back(target, f"revert-{revision.number}", now)
        whither = f"Version {back.model_version} is brought back." if back else "None came before."
        reason = (
            f"{named(deployment, revision)} did badly with all the traffic. "
            f"{_sentence(seen.broken or '')} {whither}"
        )
        decision, event = told(
            deployment,
            revision,
            Outcome.REVERTED,
            DEPLOYMENT_REVERTED,
            reason=reason,
            now=now,
            kind=DecisionKind.ROLLBACK,
            rules=seen.rules,
            details={"to_version": back.model_version if back else None},
        )
        if back is None:
            self._revisions.settle(revision, event, decision)
        else:
            self._revisions.revert(revision, back, event, decision)
        crash_point("rollout.reverted")
        self._baking.forget((deployment.name, revision.number))
        return back is not None

    def _fail(self, deployment: Deployment, revision: Revision, problem: str) -> None:
        reason = f"{named(deployment, revision)} can't serve: {problem}{serves_on(deployment)}"
        decision, event = told(
            deployment,
            revision,
            Outcome.FAILED,
            DEPLOYMENT_FAILED,
            reason=reason,
            now=self._clock.now(),
        )
        current = self._revisions.get(deployment.name, revision.number)
        if current.status in OPEN:
            self._revisions.end(current, RevisionStatus.FAILED.value, reason, event, decision)
        self._let_go(deployment, revision)

    def _let_go(self, deployment: Deployment, revision: Revision) -> None:
        key = (deployment.name, revision.number)
        self._fleet.abandon(*key)
        self._outcomes.forget(*key)
        self._known.pop(key, None)
        self._baking.forget(key)


_SERVING = ROLLING | {RevisionStatus.LIVE}


def _first(active: Sequence[Revision], among: Any) -> Revision | None:
    return next((r for r in active if r.status in among), None)


def _last(active: Sequence[Revision], among: Any) -> Revision | None:
    return next((r for r in reversed(active) if r.status in among), None)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _profile(model: ModelVersion) -> str:
    """The zygote whose imports the model's runtime needs."""
    native = model.runtime.get("kind") == "native"
    return str(model.runtime.get("profile") or ("serve-sklearn" if native else "serve"))
