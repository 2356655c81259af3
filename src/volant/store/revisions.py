"""Revisions: what answers at a deployment's address, and the switches that matter.

Every write locks the deployment's row first, is guarded by the state that it starts
from, and stores its event and decision in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.decision import Decision
from volant.domain.deployment import (
    OPEN,
    REVISION_TRANSITIONS,
    ROLLING,
    Deployment,
    Revision,
    RevisionStatus,
)
from volant.domain.event import Event
from volant.errors import Conflict, InvalidInput
from volant.store.decisions import insert_decision
from volant.store.deployments import find_deployment
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.models import promote
from volant.store.rows import columns, missing, one, page, paged, record, several, values
from volant.store.schema import deployments, revisions

_UNSTARTED = {"status": RevisionStatus.PENDING, "step": None, "percent": None, "since": None}


class SqlRevisions:
    """`RevisionRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(
        self, revision: Revision, event: Event | None = None, decision: Decision | None = None
    ) -> Revision:
        with self._database.write() as work:
            deployment = find_deployment(work.connection, revision.deployment, lock=True)
            stored = _of_key(work.connection, revision) or _same(work, deployment, revision)
            return stored or _insert(work, revision, event, decision)

    def get(self, deployment: str, number: int) -> Revision:
        with self._database.read() as connection:
            return _find(connection, deployment, number)

    def page(
        self, deployment: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[Revision], str | None]:
        statement = sa.select(*columns(revisions)).where(revisions.c.deployment == deployment)
        with self._database.read() as connection:
            rows, following = page(connection, statement, revisions.c.number, limit, before)
        return paged(Revision, rows), following

    def active(self) -> Sequence[Revision]:
        statement = (
            sa.select(*columns(revisions))
            .where(revisions.c.status.in_([*OPEN, RevisionStatus.LIVE]))
            .order_by(revisions.c.deployment, revisions.c.number)
        )
        with self._database.read() as connection:
            return several(connection, Revision, statement)

    def retired(self, deployment: str, limit: int, below: int | None = None) -> Sequence[Revision]:
        statement = sa.select(*columns(revisions)).where(
            revisions.c.deployment == deployment, revisions.c.status == RevisionStatus.RETIRED
        )
        if below is not None:
            statement = statement.where(revisions.c.number < below)
        with self._database.read() as connection:
            newest = statement.order_by(revisions.c.number.desc()).limit(limit)
            return several(connection, Revision, newest)

    def move(self, revision: Revision, to: str, reason: str | None = None) -> bool:
        """As the port says. Retiring the live revision leaves the deployment without one."""
        target = _target(revision, to)
        with self._database.write() as work:
            find_deployment(work.connection, revision.deployment, lock=True)
            if not _move(work, revision, target, reason=reason):
                _find(work.connection, revision.deployment, revision.number)
                return False
            work.execute(
                sa.update(deployments)
                .where(
                    deployments.c.name == revision.deployment,
                    deployments.c.live_revision == revision.number,
                )
                .values(live_revision=None, live_version=None)
            )
            return True

    def roll(self, revision: Revision, to: Revision, event: Event, decision: Decision) -> bool:
        if to.status not in ROLLING or to.status not in REVISION_TRANSITIONS[revision.status]:
            raise _cant(revision, to.status)
        with self._database.write() as work:
            find_deployment(work.connection, revision.deployment, lock=True)
            if not _move(
                work, revision, to.status, step=to.step, percent=to.percent, since=to.since
            ):
                _find(work.connection, revision.deployment, revision.number)
                return False
            insert_decision(work, decision)
            emit(work, event)
            return True

    def activate(
        self, revision: Revision, event: Event, decision: Decision, *, bakes: bool = False
    ) -> bool:
        with self._database.write() as work:
            deployment = find_deployment(work.connection, revision.deployment, lock=True)
            stored = _find(work.connection, revision.deployment, revision.number)
            if stored.status is RevisionStatus.LIVE:
                return False
            if RevisionStatus.LIVE not in REVISION_TRANSITIONS[stored.status]:
                raise _not_ready(stored)
            _go_live(work, stored, decision.time, decision.time if bakes else None)
            promote(work, deployment.model, stored.model_version, event)
            insert_decision(work, decision)
            emit(work, event)
            return True

    def end(
        self, revision: Revision, to: str, reason: str, event: Event, decision: Decision
    ) -> bool:
        target = _target(revision, to)
        with self._database.write() as work:
            find_deployment(work.connection, revision.deployment, lock=True)
            if not _move(work, revision, target, reason=reason, percent=None, since=None):
                _find(work.connection, revision.deployment, revision.number)
                return False
            insert_decision(work, decision)
            emit(work, event)
            return True

    def settle(self, revision: Revision, event: Event, decision: Decision) -> bool:
        with self._database.write() as work:
            find_deployment(work.connection, revision.deployment, lock=True)
            if not _move(work, revision, RevisionStatus.LIVE, since=None):
                return False
            insert_decision(work, decision)
            emit(work, event)
            return True

    def revert(
        self,
        revision: Revision,
        back: Revision,
        event: Event,
        decision: Decision,
    ) -> Revision | None:
        with self._database.write() as work:
            deployment = find_deployment(work.connection, revision.deployment, lock=True)
            stored = _of_key(work.connection, back)
            if stored is not None:
                return stored
            if deployment.live_revision != revision.number:
                return None
            reason = decision.reason
            if not _move(work, revision, RevisionStatus.LIVE, since=None, reason=reason):
                return None
            return _insert(work, back, event, decision)


def _of_key(connection: sa.Connection, revision: Revision) -> Revision | None:
    statement = sa.select(*columns(revisions)).where(
        revisions.c.deployment == revision.deployment, revisions.c.key == revision.key
    )
    row = one(connection, statement)
    return None if row is None else record(Revision, row)


def _same(work: Write, deployment: Deployment, revision: Revision) -> Revision | None:
    """The revision that serves this version, or is on its way to, newest first."""
    statement = (
        sa.select(*columns(revisions))
        .where(
            revisions.c.deployment == deployment.name,
            revisions.c.model_version == revision.model_version,
            revisions.c.status.in_([*OPEN, RevisionStatus.LIVE]),
        )
        .order_by(revisions.c.number.desc())
        .limit(1)
    )
    row = one(work.connection, statement)
    return None if row is None else record(Revision, row)


def _insert(
    work: Write, revision: Revision, event: Event | None, decision: Decision | None
) -> Revision:
    newest = sa.select(sa.func.coalesce(sa.func.max(revisions.c.number), 0)).where(
        revisions.c.deployment == revision.deployment
    )
    number = work.execute(newest).scalar_one() + 1
    work.execute(
        sa.insert(revisions).values(values(revisions, revision, number=number, **_UNSTARTED))
    )
    # What tells of a revision before it had a number gets it here.
    if decision is not None:
        insert_decision(work, replace(decision, details=_numbered(decision.details, number)))
    if event is not None:
        emit(work, replace(event, data=_numbered(event.data, number)))
    return _find(work.connection, revision.deployment, number)


def _numbered(facts: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    return {**facts, "revision": number} if facts.get("revision") == 0 else facts


def _target(revision: Revision, to: str) -> RevisionStatus:
    try:
        target = RevisionStatus(to)
    except ValueError:
        names = ", ".join(RevisionStatus)
        raise InvalidInput(f"{to!r} isn't a revision's status.", f"Give one of {names}.") from None
    if target in ROLLING or target is RevisionStatus.LIVE:
        raise InvalidInput(
            f"A revision can't be moved to {target.value} by itself: its traffic changes with it.",
            "Roll it out, or activate it.",
        )
    if target not in REVISION_TRANSITIONS[revision.status]:
        raise _cant(revision, target)
    return target


def _cant(revision: Revision, target: RevisionStatus) -> Conflict:
    return Conflict(
        f"Revision {revision.number} of {revision.deployment} is {revision.status.value}"
        f" and can't become {target.value}.",
        "Request a new revision.",
        details={"status": revision.status.value, "to": target.value},
    )


def _not_ready(stored: Revision) -> Conflict:
    return Conflict(
        f"Revision {stored.number} of {stored.deployment} is {stored.status.value}, not ready,"
        " so it can't go live.",
        "Wait until it is ready, or request a new revision.",
        details={"status": stored.status.value},
    )


def _go_live(work: Write, revision: Revision, time: datetime, since: datetime | None) -> None:
    """Old live → retired, then this one → live: in that order, because the partial
    unique index allows one live revision at any moment."""
    work.execute(
        sa.update(revisions)
        .where(
            revisions.c.deployment == revision.deployment,
            revisions.c.status == RevisionStatus.LIVE,
        )
        .values(status=RevisionStatus.RETIRED, since=None)
    )
    if not _move(work, revision, RevisionStatus.LIVE, activated_at=time, since=since, percent=None):
        raise _not_ready(_find(work.connection, revision.deployment, revision.number))
    work.execute(
        sa.update(deployments)
        .where(deployments.c.name == revision.deployment)
        .values(live_revision=revision.number, live_version=revision.model_version)
    )


def _move(work: Write, revision: Revision, to: RevisionStatus, **facts: object) -> bool:
    """Guarded by status, step and since: the same step twice isn't taken for one."""
    return work.changed(
        sa.update(revisions)
        .where(
            revisions.c.deployment == revision.deployment,
            revisions.c.number == revision.number,
            revisions.c.status == revision.status,
            revisions.c.step.is_not_distinct_from(revision.step),
            revisions.c.since.is_not_distinct_from(revision.since),
        )
        .values(status=to, **facts)
    )


def _find(connection: sa.Connection, deployment: str, number: int) -> Revision:
    statement = sa.select(*columns(revisions)).where(
        revisions.c.deployment == deployment, revisions.c.number == number
    )
    row = one(connection, statement)
    if row is None:
        raise missing("revision", f"{deployment} {number}")
    return record(Revision, row)
