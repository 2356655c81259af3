"""What a person does to a deployment by hand: promote, abort, roll back, scale, load, delete.

Each is one transaction with its decision and event, so that `volant why` tells who did
it; the rollout's next turn makes the replicas follow.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from volant.domain.codec import to_plain
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.deployment import (
    OPEN,
    ROLLING,
    Deployment,
    Revision,
    RevisionStatus,
    Settings,
)
from volant.domain.event import (
    DEPLOYMENT_ABORTED,
    DEPLOYMENT_ACTIVATED,
    DEPLOYMENT_CHANGED,
    DEPLOYMENT_DELETED,
    DEPLOYMENT_LOADED,
    DEPLOYMENT_REVERTED,
    DEPLOYMENT_SCALED,
    DEPLOYMENT_UNLOADED,
    Event,
)
from volant.domain.loop import ReplicaSpec
from volant.errors import Conflict, InvalidInput, NotFound
from volant.ports.clock import Clock
from volant.ports.records import DeploymentRecords, RevisionRecords
from volant.serving.changes import changed_replicas, changed_settings, in_words
from volant.serving.previous import brought_back, previous
from volant.serving.told import SOURCE, going, named, serves_on, told

_LOOKED_AT = 1000
_TO = re.compile(r"(v?)([0-9]{1,17})")


class Steering:
    """Args:
    wake: Called after each change.
    """

    def __init__(
        self,
        deployments: DeploymentRecords,
        revisions: RevisionRecords,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._deployments = deployments
        self._revisions = revisions
        self._clock = clock
        self._wake = wake

    def promote(self, name: str, by: str, reason: str) -> Revision:
        """The canary or shadow is live now; its last bake, with all the traffic, begins.
        Raises `Conflict` when nothing is rolled out."""
        deployment = self._deployments.get(name)
        revision = self._open(name, ROLLING)
        if revision is None:
            raise Conflict(
                f"Deployment {name!r} has no canary and no shadow.",
                f"See what it has: volant deployments revisions {name}",
                code="nothing_rolling",
            )
        decision, event = told(
            deployment,
            revision,
            Outcome.ACTIVATED,
            DEPLOYMENT_ACTIVATED,
            reason=(
                f"{by} promoted {_lower(named(deployment, revision))}, {going(revision)}, over "
                f"version {deployment.live_version}.{_why(reason)}"
            ),
            now=self._clock.now(),
            by=by,
        )
        self._revisions.activate(
            revision, event, decision, bakes=deployment.live_revision is not None
        )
        self._wake()
        return self._revisions.get(name, revision.number)

    def abort(self, name: str, by: str, reason: str) -> Revision:
        """The newest revision that isn't live yet never will be. Raises `Conflict` when
        there is none."""
        deployment = self._deployments.get(name)
        revision = self._open(name, OPEN)
        if revision is None:
            raise Conflict(
                f"Deployment {name!r} has no revision on its way to be live.",
                f"To leave the live one: volant rollback {name}",
                code="nothing_open",
            )
        return self._abort(deployment, revision, by, reason)

    def rollback(
        self, name: str, by: str, *, to: str | None, reason: str, key: str | None
    ) -> Revision:
        """All traffic back to what was live before, as a new revision without canary and
        gate. Without a `to`: a canary or shadow that goes is aborted, for what was live
        before it still is; and a rollback that is on its way already is the answer.

        Args:
            name: The deployment.
            by: Who asks.
            to: A revision's number, or a version as `v3`; None: the one before.
            reason: In the person's words.
            key: Asking twice with it is asking once.

        Raises:
            Conflict: When there is nothing to go back to.
            InvalidInput: For a `to` that is none.
            NotFound: For a deployment, or a revision, that isn't there.
        """
        deployment = self._deployments.get(name)
        newest = self._open(name, OPEN) if to is None else None
        if newest is not None and newest.status in ROLLING:
            return self._abort(deployment, newest, by, reason)
        if newest is not None and newest.restores is not None:
            return newest
        if deployment.live_revision is None:
            raise Conflict(
                f"Deployment {name!r} serves nothing yet.",
                "Deploy a version first.",
                code="no_live",
            )
        live = self._revisions.get(name, deployment.live_revision)
        target = previous(self._revisions, live) if to is None else self._target(live, to)
        if target is None:
            raise Conflict(
                f"Before version {live.model_version}, deployment {name!r} served no other.",
                f"Name one: volant rollback {name} --to v1",
                code="nothing_before",
            )
        back = brought_back(
            target, key or f"rollback-{secrets.token_hex(8)}", self._clock.now(), asked_by=by
        )
        decision, event = told(
            deployment,
            back,
            Outcome.REVERTED,
            DEPLOYMENT_REVERTED,
            reason=(
                f"{by} rolled back from version {live.model_version} (revision {live.number}) to "
                f"version {back.model_version} (as in revision {target.number}).{_why(reason)}"
            ),
            now=back.created_at,
            kind=DecisionKind.ROLLBACK,
            by=by,
            details={"from_version": live.model_version, "to_version": back.model_version},
        )
        stored = self._revisions.revert(live, back, event, decision)
        if stored is None:
            raise Conflict(
                f"Another revision of {name!r} went live at this moment.",
                "Look at it, then roll back from it if that is still wanted.",
                code="changed_meanwhile",
            )
        self._wake()
        return stored

    def scale(self, name: str, changes: Mapping[str, Any], by: str) -> ReplicaSpec:
        """Raises `InvalidInput` for counts that can't be, or without any change."""
        done = f"scaled {name}: {in_words(changes)}"

        def change(before: ReplicaSpec) -> ReplicaSpec:
            return changed_replicas(before, changes)

        how = {"by": by, "done": done, "event_type": DEPLOYMENT_SCALED}
        return self._changed(name, "replicas", change, **how).replicas

    def set(self, name: str, changes: Mapping[str, Any], by: str) -> Settings:
        """Other settings; see `changed_settings`, and raises as that does."""
        done = f"changed {name}: {in_words(changes)}"

        def change(before: Settings) -> Settings:
            return changed_settings(before, changes)

        how = {"by": by, "done": done, "event_type": DEPLOYMENT_CHANGED}
        return self._changed(name, "settings", change, **how).settings

    def _changed(
        self,
        name: str,
        part: Literal["replicas", "settings"],
        change: Callable[[Any], Any],
        *,
        by: str,
        done: str,
        event_type: str,
    ) -> Deployment:
        """Change that part of the deployment, again where somebody else did so meanwhile."""
        while True:
            before = self._deployments.get(name)
            was = getattr(before, part)
            after = replace(before, **{part: change(was)})
            facts = {"by": by, "before": to_plain(was), "after": to_plain(getattr(after, part))}
            decision, event = self._by_hand(before, event_type, f"{by} {done}.", facts)
            if self._deployments.change(before, after, event, decision):
                self._wake()
                return after

    def load(self, name: str, by: str, loaded: bool) -> bool:
        """The model is loaded from now on, or isn't, whatever is deployed meanwhile;
        False when it is so already. Raises `NotFound`."""
        deployment = self._deployments.get(name)
        did = "loaded" if loaded else "unloaded"
        decision, event = self._by_hand(
            deployment,
            DEPLOYMENT_LOADED if loaded else DEPLOYMENT_UNLOADED,
            f"{by} {did} the model of {name}.",
            {"by": by, "version": deployment.live_version},
        )
        changed = self._deployments.set_loaded(name, event, decision, loaded=loaded)
        if changed:
            self._wake()
        return changed

    def delete(self, name: str, by: str | None) -> None:
        """It answers no more; its model's versions stay."""
        deployment = self._deployments.get(name)
        reason = f"{by or 'Somebody'} deleted the deployment {name}."
        decision, event = self._by_hand(
            deployment,
            DEPLOYMENT_DELETED,
            reason,
            {"by": by, "version": deployment.live_version, "port": deployment.port},
        )
        self._deployments.delete(name, event, decision)
        self._wake()

    def _by_hand(
        self, deployment: Deployment, event_type: str, reason: str, facts: Mapping[str, Any]
    ) -> tuple[Decision, Event]:
        """What is done as often as somebody does it."""
        token, now = secrets.token_hex(10), self._clock.now()
        subject = f"deployment/{deployment.name}"
        decision = Decision(
            id=f"{event_type.rpartition('.')[2]}-{token}",
            kind=DecisionKind.DEPLOY,
            subject=subject,
            outcome=Outcome.ACCEPTED,
            reason=reason,
            time=now,
            loop=deployment.name,
            details=facts,
        )
        data = {**facts, "deployment": deployment.name, "reason": reason}
        return decision, Event(f"evt-{decision.id}", event_type, SOURCE, subject, now, data)

    def _abort(self, deployment: Deployment, revision: Revision, by: str, reason: str) -> Revision:
        was = f", {going(revision)}" if revision.status in ROLLING else ""
        text = (
            f"{by} aborted {_lower(named(deployment, revision))}{was}.{_why(reason)}"
            f"{serves_on(deployment)}"
        )
        decision, event = told(
            deployment,
            revision,
            Outcome.ABORTED,
            DEPLOYMENT_ABORTED,
            reason=text,
            now=self._clock.now(),
            kind=DecisionKind.ROLLBACK,
            by=by,
        )
        ended = self._revisions.end(revision, RevisionStatus.ABORTED.value, text, event, decision)
        if not ended:
            raise Conflict(
                f"Revision {revision.number} of {deployment.name!r} went on at this moment.",
                "Look at it, then try again.",
                code="changed_meanwhile",
            )
        self._wake()
        return self._revisions.get(deployment.name, revision.number)

    def _open(self, name: str, among: frozenset[RevisionStatus]) -> Revision | None:
        found = [r for r in self._revisions.active() if r.deployment == name and r.status in among]
        return found[-1] if found else None

    def _target(self, live: Revision, to: str) -> Revision:
        match = _TO.fullmatch(to)
        if match is None:
            raise InvalidInput(
                f"{to[:80]!r} is neither a revision nor a version.",
                "Give a revision's number, like 3, or a version, like v2.",
            )
        number = int(match[2])
        once_live = self._revisions.retired(live.deployment, _LOOKED_AT)
        for revision in once_live:
            if number == (revision.model_version if match[1] else revision.number):
                if revision.model_version == live.model_version:
                    break
                return revision
        if number == (live.model_version if match[1] else live.number):
            raise Conflict(
                f"Version {live.model_version} is live already.",
                f"See what was: volant deployments revisions {live.deployment}",
                code="live_already",
            )
        what = f"Version {number}" if match[1] else f"Revision {number}"
        raise NotFound(
            f"{what} of {live.deployment!r} was never live, or is live now.",
            f"See what was: volant deployments revisions {live.deployment}",
        )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _why(reason: str) -> str:
    return f" Reason: {reason.strip().rstrip('.')}." if reason.strip() else ""
