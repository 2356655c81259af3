"""Deployments: addresses that answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.decision import Decision
from volant.domain.deployment import Deployment
from volant.domain.event import Event
from volant.store.decisions import insert_decision
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.schema import deployments


class SqlDeployments:
    """`DeploymentRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, deployment: Deployment) -> Deployment:
        with self._database.write() as work:
            if not work.insert_new(deployments, values(deployments, deployment)):
                stored = find_deployment(work.connection, deployment.name, lock=True)
                work.execute(
                    sa.update(deployments)
                    .where(deployments.c.name == deployment.name)
                    .values(
                        replicas=deployment.replicas,
                        host=deployment.host,
                        settings=replace(deployment.settings, loaded=stored.settings.loaded),
                    )
                )
            return find_deployment(work.connection, deployment.name)

    def get(self, name: str) -> Deployment:
        with self._database.read() as connection:
            return find_deployment(connection, name)

    def list(self) -> Sequence[Deployment]:
        statement = sa.select(*columns(deployments)).order_by(deployments.c.name)
        with self._database.read() as connection:
            return several(connection, Deployment, statement)

    def delete(
        self, name: str, event: Event | None = None, decision: Decision | None = None
    ) -> None:
        """Its revisions go with it."""
        with self._database.write() as work:
            if not work.changed(sa.delete(deployments).where(deployments.c.name == name)):
                raise missing("deployment", name)
            _tell(work, event, decision)

    def change(
        self,
        before: Deployment,
        after: Deployment,
        event: Event | None = None,
        decision: Decision | None = None,
    ) -> bool:
        with self._database.write() as work:
            stored = find_deployment(work.connection, before.name, lock=True)
            if (stored.replicas, stored.settings) != (before.replicas, before.settings):
                return False
            work.execute(
                sa.update(deployments)
                .where(deployments.c.name == before.name)
                .values(replicas=after.replicas, settings=after.settings)
            )
            _tell(work, event, decision)
            return True

    def set_loaded(
        self, name: str, event: Event, decision: Decision | None = None, *, loaded: bool
    ) -> bool:
        with self._database.write() as work:
            stored = find_deployment(work.connection, name, lock=True)
            if stored.settings.loaded == loaded:
                return False
            work.execute(
                sa.update(deployments)
                .where(deployments.c.name == name)
                .values(settings=replace(stored.settings, loaded=loaded))
            )
            _tell(work, event, decision)
            return True


def _tell(work: Write, event: Event | None, decision: Decision | None) -> None:
    if decision is not None:
        insert_decision(work, decision)
    if event is not None:
        emit(work, event)


def find_deployment(connection: sa.Connection, name: str, *, lock: bool = False) -> Deployment:
    """The stored deployment, its row locked until the commit if asked. Raises `NotFound`."""
    statement = sa.select(*columns(deployments)).where(deployments.c.name == name)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        names = connection.execute(sa.select(deployments.c.name)).scalars()
        raise missing("deployment", name, names)
    return record(Deployment, row)
