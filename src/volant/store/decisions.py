"""Decisions: written once, sealed by a SHA-256, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.codec import to_plain
from volant.domain.decision import Decision
from volant.domain.event import Event
from volant.errors import Conflict
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.rows import columns, missing, one, page, paged, record, values
from volant.store.schema import decisions
from volant.store.types import canonical


def decision_sha256(decision: Decision) -> str:
    """The SHA-256 of the canonical JSON of every field but `sha256`: keys sorted, no
    spaces, UTF-8."""
    fields = to_plain(decision)
    del fields["sha256"]
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


class SqlDecisions:
    """`DecisionRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, decision: Decision, event: Event | None = None) -> Decision:
        with self._database.write() as work:
            if insert_decision(work, decision) and event is not None:
                emit(work, event)
            return _find(work.connection, decision.id)

    def get(self, decision_id: str) -> Decision:
        with self._database.read() as connection:
            return _find(connection, decision_id)

    def page(
        self,
        limit: int,
        before: str | None = None,
        *,
        loop: str | None = None,
        subject: str | None = None,
    ) -> tuple[Sequence[Decision], str | None]:
        statement = sa.select(*columns(decisions))
        if loop is not None:
            statement = statement.where(decisions.c.loop == loop)
        if subject is not None:
            statement = statement.where(decisions.c.subject == subject)
        with self._database.read() as connection:
            rows, following = page(connection, statement, decisions.c.seq, limit, before)
        return [_verified(decision) for decision in paged(Decision, rows)], following


def insert_decision(work: Write, decision: Decision) -> bool:
    """Seal and store a decision in an open transaction; False when its id is stored."""
    # Looked up first: the table's trigger refuses a second row of one id outright.
    known = sa.select(decisions.c.seq).where(decisions.c.id == decision.id)
    if one(work.connection, known) is not None:
        return False
    sealed = values(decisions, decision, sha256=decision_sha256(decision))
    return work.insert_new(decisions, sealed)


def _find(connection: sa.Connection, decision_id: str) -> Decision:
    row = one(connection, sa.select(*columns(decisions)).where(decisions.c.id == decision_id))
    if row is None:
        raise missing("decision", decision_id)
    return _verified(record(Decision, row))


def _verified(decision: Decision) -> Decision:
    if decision_sha256(decision) != decision.sha256:
        raise Conflict(
            f"The stored decision {decision.id} was altered: it no longer matches its SHA-256.",
            "Restore the database from a backup, and find out who may write to it.",
            code="decision_altered",
            details={"decision": decision.id},
        )
    return decision
