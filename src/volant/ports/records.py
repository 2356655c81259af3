"""The stored nouns. One Protocol a noun; every write that changes a state is
guarded, and takes the events that are stored in its own transaction.

Common rules: getters raise `NotFound`; `page` methods return newest first, at most
`limit` rows older than the `before` cursor (an opaque string, None for the first
page), with the next cursor or None; writes raise `Unavailable` when the database is
locked or read-only and `ResourceExhausted` when the disk is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from volant.domain.contract import Contract
from volant.domain.dataset import Dataset, DatasetVersion, Push
from volant.domain.decision import Decision
from volant.domain.deployment import Deployment, Revision
from volant.domain.event import Event
from volant.domain.loop import Loop
from volant.domain.minute import DeploymentMinute
from volant.domain.model import ModelVersion
from volant.domain.principal import AuditEntry, Token
from volant.domain.run import Run
from volant.domain.tracking import Experiment, Metric, TrackedRun, TrackingStatus
from volant.domain.trigger import Firing, Trigger


class DatasetRecords(Protocol):
    def create(self, dataset: Dataset) -> Dataset:
        """Store it; returns the stored one if the name exists."""
        ...

    def get(self, name: str) -> Dataset: ...

    def list(self) -> Sequence[Dataset]: ...

    def set_contract(self, name: str, contract: Contract) -> None: ...


class PushRecords(Protocol):
    def create(self, push: Push) -> Push:
        """Store it as `received`; the same id again returns the stored one."""
        ...

    def get(self, push_id: str) -> Push: ...

    def page(
        self, dataset: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[Push], str | None]: ...

    def commit(
        self,
        push_id: str,
        version: DatasetVersion,
        contract: Contract | None,
        event: Event,
        *,
        forgotten: int = 0,
    ) -> DatasetVersion:
        """received → committed, with the version row, the dataset's totals, the
        contract if one was inferred, and the event, in one transaction. The version's
        number is given here (newest + 1), whatever `version.version` says; a push that is
        committed already returns its stored version and stores nothing. `forgotten` rows
        of earlier versions have left the table with this one."""
        ...

    def reject(self, push_id: str, reason: str, rows_quarantined: int, event: Event) -> None:
        """received → rejected; does nothing if it is rejected already."""
        ...


class VersionRecords(Protocol):
    def get(self, dataset: str, version: int) -> DatasetVersion: ...

    def page(
        self, dataset: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[DatasetVersion], str | None]: ...


class LoopRecords(Protocol):
    def apply(self, loop: Loop, triggers: Sequence[Trigger], event: Event) -> Loop:
        """Insert or replace by name: generation + 1 when source or code changed (else
        nothing is written), its triggers replaced, one transaction."""
        ...

    def get(self, name: str) -> Loop: ...

    def list(self) -> Sequence[Loop]: ...

    def delete(self, name: str, event: Event) -> None: ...


class RunRecords(Protocol):
    def create(self, run: Run, event: Event | None = None) -> Run:
        """The same id again returns the stored run and stores nothing."""
        ...

    def get(self, run_id: str) -> Run: ...

    def page(
        self,
        limit: int,
        before: str | None = None,
        *,
        loop: str | None = None,
        workflow: str | None = None,
        project: str | None = None,
        codeset: str | None = None,
        registered: bool = False,
    ) -> tuple[Sequence[Run], str | None]:
        """With `registered`, only runs of workflows that are registered now."""
        ...

    def makers(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        """Those of the runs that a stored model version was made by, each with its name
        (`wine version 3`)."""
        ...

    def delete(self, run_ids: Sequence[str], event: Event) -> Sequence[str]:
        """Delete those of the runs that no model version was made by and that no run but
        these is a retry of, with the event, whose data gets their ids as `runs`. Returns
        the ids; nothing is stored when there are none."""
        ...


class EventRecords(Protocol):
    def append(self, event: Event) -> bool:
        """False when the id is stored already."""
        ...

    def pending(self, limit: int) -> Sequence[Event]:
        """Oldest events not dispatched yet."""
        ...

    def pending_count(self) -> int:
        """How many events aren't dispatched yet."""
        ...

    def mark_dispatched(self, event_id: str) -> None: ...

    def get(self, event_id: str) -> Event: ...

    def page(
        self, limit: int, before: str | None = None, *, subject: str | None = None
    ) -> tuple[Sequence[Event], str | None]: ...


class TriggerRecords(Protocol):
    def for_dataset(self, dataset: str) -> Sequence[Trigger]: ...

    def due(self, now: datetime) -> Sequence[Trigger]:
        """Cron triggers whose `next_at` has come."""
        ...

    def advance(self, trigger_id: str, expected: datetime, next_at: datetime, event: Event) -> bool:
        """Move `next_at` on if it still is `expected`, storing the event; else False."""
        ...

    def fire(self, firing: Firing, decision: Decision) -> bool:
        """Store both; False when this (event, trigger) is stored already."""
        ...

    def list(self, loop: str | None = None) -> Sequence[Trigger]: ...


class DecisionRecords(Protocol):
    def record(self, decision: Decision, event: Event | None = None) -> Decision:
        """Store it with its SHA-256; the same id again returns the stored one."""
        ...

    def get(self, decision_id: str) -> Decision:
        """Raises `Conflict` when the stored row no longer matches its SHA-256."""
        ...

    def page(
        self,
        limit: int,
        before: str | None = None,
        *,
        loop: str | None = None,
        subject: str | None = None,
    ) -> tuple[Sequence[Decision], str | None]: ...


class TrackingRecords(Protocol):
    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> Experiment:
        """Get or create by name; it has these tags then, too."""
        ...

    def revive(self, name: str) -> bool:
        """Restore the experiment, with its runs, if it is deleted; whether it was."""
        ...

    def record_run(self, run: TrackedRun, metrics: Sequence[Metric]) -> TrackedRun:
        """Store a run with its params, tags and metric history; the same id again
        replaces nothing and returns the stored one."""
        ...

    def finish_run(self, run_id: str, status: TrackingStatus, ended_at: datetime) -> None: ...

    def get_run(self, run_id: str) -> TrackedRun: ...

    def history(self, run_id: str, key: str) -> Sequence[Metric]: ...


class ModelRecords(Protocol):
    def register(self, version: ModelVersion, event: Event) -> ModelVersion:
        """Store it under the next number of its model; a version whose lineage names
        the same run is returned instead. A candidate takes the alias `challenger`."""
        ...

    def prepare(self, version: ModelVersion, event: Event) -> ModelVersion:
        """registered → candidate, with the files, signature, metrics, lineage and runtime
        of `version`; it takes the alias `challenger`. One that has those files already is
        returned as it is; any other raises `Conflict`."""
        ...

    def retire(self, model: str, version: int, event: Event) -> ModelVersion:
        """candidate or champion → retired, with its aliases `challenger` and `champion`
        taken off; one that is retired already is returned. Raises `Conflict` for another
        stage, and while a deployment serves it or is about to."""
        ...

    def holds(self, uri: str) -> bool:
        """Whether any version's files are there."""
        ...

    def get(self, model: str, version: int) -> ModelVersion: ...

    def by_alias(self, model: str, alias: str) -> ModelVersion: ...

    def champion(self, model: str) -> ModelVersion | None: ...

    def page(
        self, limit: int, before: str | None = None, *, model: str | None = None
    ) -> tuple[Sequence[ModelVersion], str | None]: ...


class MinuteRecords(Protocol):
    def add(self, minutes: Sequence[DeploymentMinute]) -> None:
        """Store them, those of deleted deployments left out; a minute that is stored
        already is joined with its other part."""
        ...

    def between(
        self, deployment: str, since: datetime, until: datetime
    ) -> Sequence[DeploymentMinute]:
        """Oldest first, `until` left out."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete those before that time; returns how many."""
        ...


class DeploymentRecords(Protocol):
    def ensure(self, deployment: Deployment) -> Deployment:
        """Insert, or update `replicas`, `settings` and `host` only; the stored port wins,
        and so does the stored `settings.loaded`."""
        ...

    def get(self, name: str) -> Deployment: ...

    def list(self) -> Sequence[Deployment]: ...

    def delete(
        self, name: str, event: Event | None = None, decision: Decision | None = None
    ) -> None: ...

    def change(
        self,
        before: Deployment,
        after: Deployment,
        event: Event | None = None,
        decision: Decision | None = None,
    ) -> bool:
        """Store the replicas and settings of `after`; False, and nothing is stored, when
        they aren't those of `before` any more."""
        ...

    def set_loaded(
        self, name: str, event: Event, decision: Decision | None = None, *, loaded: bool
    ) -> bool:
        """Set `settings.loaded`; False, and nothing is stored, when it is so already."""
        ...


class RevisionRecords(Protocol):
    """Every guarded write compares status, step and `since` with those of the revision
    that it is given, and stores nothing when they differ."""

    def request(
        self, revision: Revision, event: Event | None = None, decision: Decision | None = None
    ) -> Revision:
        """Store it as `pending` under the next number, with event and decision. The same
        key again returns the stored one; so does a version that is live, or on its way to
        be (the newest such revision): both store nothing."""
        ...

    def get(self, deployment: str, number: int) -> Revision: ...

    def page(
        self, deployment: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[Revision], str | None]: ...

    def active(self) -> Sequence[Revision]:
        """Of all deployments, those that are live or may become it; by deployment, then
        by number."""
        ...

    def retired(self, deployment: str, limit: int, below: int | None = None) -> Sequence[Revision]:
        """The newest ones that were live once, of those with a number under `below`."""
        ...

    def move(self, revision: Revision, to: str, reason: str | None = None) -> bool:
        """Guarded. For every transition that changes nobody's traffic: not to `shadow`,
        `canary` or `live`."""
        ...

    def roll(self, revision: Revision, to: Revision, event: Event, decision: Decision) -> bool:
        """Guarded: status (`shadow` or `canary`), step, percent and since of `to`."""
        ...

    def activate(
        self, revision: Revision, event: Event, decision: Decision, *, bakes: bool = False
    ) -> bool:
        """ready, shadow or canary → live and the old live one → retired; its model version
        becomes champion (alias too) and the old champion retired; event and decision
        stored: one transaction. With `bakes`, its `since` is the decision's time. False
        when it is live already."""
        ...

    def end(
        self, revision: Revision, to: str, reason: str, event: Event, decision: Decision
    ) -> bool:
        """Guarded: it is `failed` or `aborted` now, and has no traffic."""
        ...

    def settle(self, revision: Revision, event: Event, decision: Decision) -> bool:
        """Guarded: nothing is left to judge of a live one (`since` None)."""
        ...

    def revert(
        self, revision: Revision, back: Revision, event: Event, decision: Decision
    ) -> Revision | None:
        """Guarded: `revision` is live; it gets the decision's reason, and `back` is
        requested. The same key again returns the stored one; None when another is live."""
        ...


class TokenRecords(Protocol):
    def create(self, token: Token) -> None: ...

    def find(self, sha256: str) -> Token | None: ...

    def touch(self, token_id: str, at: datetime) -> None:
        """It was used; does nothing for a token that is gone."""
        ...

    def list(self) -> Sequence[Token]: ...

    def delete(self, token_id: str) -> None: ...


class AuditRecords(Protocol):
    def append(self, entry: AuditEntry) -> None: ...

    def page(
        self, limit: int, before: str | None = None
    ) -> tuple[Sequence[AuditEntry], str | None]: ...
