"""Revisions: what answers at a deployment's address, and the one switch that matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from volant.domain.decision import Decision
from volant.domain.deployment import REVISION_TRANSITIONS, Revision, RevisionStatus
from volant.domain.event import Event
from volant.errors import Conflict, InvalidInput
from volant.store.decisions import insert_decision
from volant.store.deployments import find_deployment
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.models import promote
from volant.store.rows import columns, missing, one, page, paged, record, values
from volant.store.schema import deployments, revisions


class SqlRevisions:
    """`RevisionRecords` on SQL. Every write locks the deployment's row first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, revision: Revision) -> Revision:
        of_key = sa.select(*columns(revisions)).where(
            revisions.c.deployment == revision.deployment, revisions.c.key == revision.key
        )
        newest = sa.select(sa.func.coalesce(sa.func.max(revisions.c.number), 0)).where(
            revisions.c.deployment == revision.deployment
        )
        with self._database.write() as work:
            find_deployment(work.connection, revision.deployment, lock=True)
            stored = one(work.connection, of_key)
            if stored is not None:
                return record(Revision, stored)
            number = work.execute(newest).scalar_one() + 1
            row = values(revisions, revision, number=number, status=RevisionStatus.PENDING)
            work.execute(sa.insert(revisions).values(row))
            return _find(work.connection, revision.deployment, number)

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

    def activate(self, revision: Revision, event: Event, decision: Decision) -> bool:
        with self._database.write() as work:
            deployment = find_deployment(work.connection, revision.deployment, lock=True)
            stored = _find(work.connection, revision.deployment, revision.number)
            if stored.status is RevisionStatus.LIVE:
                return False
            if stored.status is not RevisionStatus.READY:
                raise _not_ready(stored)
            _go_live(work, stored, decision.time)
            promote(work, deployment.model, stored.model_version)
            insert_decision(work, decision)
            emit(work, event)
            return True


def _target(revision: Revision, to: str) -> RevisionStatus:
    try:
        target = RevisionStatus(to)
    except ValueError:
        names = ", ".join(RevisionStatus)
        raise InvalidInput(f"{to!r} isn't a revision's status.", f"Give one of {names}.") from None
    if target is RevisionStatus.LIVE:
        raise InvalidInput(
            "A revision can't be moved to live by itself: its model changes with it.",
            "Activate the revision.",
        )
    if target not in REVISION_TRANSITIONS[revision.status]:
        raise Conflict(
            f"Revision {revision.number} of {revision.deployment} is {revision.status.value}"
            f" and can't become {target.value}.",
            "Request a new revision.",
            details={"status": revision.status.value, "to": target.value},
        )
    return target


def _not_ready(stored: Revision) -> Conflict:
    return Conflict(
        f"Revision {stored.number} of {stored.deployment} is {stored.status.value}, not ready,"
        " so it can't go live.",
        "Wait until it is ready, or request a new revision.",
        details={"status": stored.status.value},
    )


def _go_live(work: Write, revision: Revision, time: datetime) -> None:
    """Old live → retired, then this one ready → live: in that order, because the partial
    unique index allows one live revision at any moment."""
    work.execute(
        sa.update(revisions)
        .where(
            revisions.c.deployment == revision.deployment,
            revisions.c.status == RevisionStatus.LIVE,
        )
        .values(status=RevisionStatus.RETIRED)
    )
    if not _move(work, revision, RevisionStatus.LIVE, activated_at=time):
        raise _not_ready(_find(work.connection, revision.deployment, revision.number))
    work.execute(
        sa.update(deployments)
        .where(deployments.c.name == revision.deployment)
        .values(live_revision=revision.number, live_version=revision.model_version)
    )


def _move(work: Write, revision: Revision, to: RevisionStatus, **facts: object) -> bool:
    return work.changed(
        sa.update(revisions)
        .where(
            revisions.c.deployment == revision.deployment,
            revisions.c.number == revision.number,
            revisions.c.status == revision.status,
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
