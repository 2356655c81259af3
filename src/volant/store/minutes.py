"""What deployments did, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from volant.domain.minute import DeploymentMinute, joined
from volant.store.engine import Database, Write
from volant.store.rows import columns, one, record, several, values
from volant.store.schema import deployment_minutes, deployments


class SqlMinutes:
    """`MinuteRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, minutes: Sequence[DeploymentMinute]) -> None:
        if not minutes:
            return
        with self._database.write() as work:
            known = set(work.execute(sa.select(deployments.c.name)).scalars())
            for minute in minutes:
                if minute.deployment in known:  # else it was deleted meanwhile
                    _store(work, minute)

    def between(
        self, deployment: str, since: datetime, until: datetime
    ) -> Sequence[DeploymentMinute]:
        table = deployment_minutes
        statement = (
            sa.select(*columns(table))
            .where(table.c.deployment == deployment)
            .where(table.c.minute >= since, table.c.minute < until)
            .order_by(table.c.minute)
        )
        with self._database.read() as connection:
            return several(connection, DeploymentMinute, statement)

    def prune(self, before: datetime) -> int:
        with self._database.write() as work:
            old = deployment_minutes.c.minute < before
            return work.execute(sa.delete(deployment_minutes).where(old)).rowcount


def _store(work: Write, minute: DeploymentMinute) -> None:
    """A minute in which the platform ended and began again has two parts."""
    table = deployment_minutes
    if work.insert_new(table, values(table, minute)):
        return
    same = (table.c.deployment == minute.deployment, table.c.minute == minute.minute)
    row = one(work.connection, sa.select(*columns(table)).where(*same))
    if row is not None:
        both = joined(record(DeploymentMinute, row), minute)
        work.execute(sa.update(table).where(*same).values(**asdict(both)))
