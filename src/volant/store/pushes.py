"""Pushes: received, then committed as a version, or rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.contract import Contract
from volant.domain.dataset import DatasetVersion, Push, PushStatus
from volant.domain.event import Event
from volant.errors import Conflict
from volant.store.datasets import find_dataset
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.rows import columns, missing, one, page, paged, record, values
from volant.store.schema import dataset_versions, datasets, pushes


class SqlPushes:
    """`PushRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, push: Push) -> Push:
        with self._database.write() as work:
            find_dataset(work.connection, push.dataset)
            work.insert_new(pushes, values(pushes, push, status=PushStatus.RECEIVED))
            return _find(work.connection, push.id)

    def get(self, push_id: str) -> Push:
        with self._database.read() as connection:
            return _find(connection, push_id)

    def page(
        self, dataset: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[Push], str | None]:
        statement = sa.select(*columns(pushes)).where(pushes.c.dataset == dataset)
        with self._database.read() as connection:
            rows, following = page(connection, statement, pushes.c.seq, limit, before)
        return paged(Push, rows), following

    def commit(
        self,
        push_id: str,
        version: DatasetVersion,
        contract: Contract | None,
        event: Event,
        *,
        forgotten: int = 0,
    ) -> DatasetVersion:
        """As the port says; the event's data gets the number given as `version`."""
        with self._database.write() as work:
            push = _find(work.connection, push_id, lock=True)
            if push.status is PushStatus.COMMITTED:
                return _version_of(work.connection, push_id)
            number = _next_number(work, push.dataset, version, contract, forgotten)
            self._move(
                work,
                push,
                PushStatus.COMMITTED,
                version=number,
                rows_added=version.rows_added,
                rows_quarantined=version.rows_quarantined,
            )
            stored = replace(version, dataset=push.dataset, version=number, push_id=push_id)
            work.execute(sa.insert(dataset_versions).values(values(dataset_versions, stored)))
            emit(work, replace(event, data={**event.data, "version": number}))
            return _version_of(work.connection, push_id)

    def reject(self, push_id: str, reason: str, rows_quarantined: int, event: Event) -> None:
        with self._database.write() as work:
            push = _find(work.connection, push_id, lock=True)
            if push.status is PushStatus.REJECTED:
                return
            self._move(
                work,
                push,
                PushStatus.REJECTED,
                reason=reason,
                rows_quarantined=rows_quarantined,
            )
            work.execute(
                sa.update(datasets)
                .where(datasets.c.name == push.dataset)
                .values(quarantined=datasets.c.quarantined + rows_quarantined)
            )
            emit(work, event)

    @staticmethod
    def _move(work: Write, push: Push, to: PushStatus, **facts: object) -> None:
        guarded = (
            sa.update(pushes)
            .where(pushes.c.id == push.id, pushes.c.status == PushStatus.RECEIVED)
            .values(status=to, **facts)
        )
        if not work.changed(guarded):
            raise Conflict(
                f"Push {push.id} is {push.status.value} already, so it can't become {to.value}.",
                "Push the data again to make a new push.",
                details={"push": push.id, "status": push.status.value},
            )


def _next_number(
    work: Write,
    dataset: str,
    version: DatasetVersion,
    contract: Contract | None,
    forgotten: int,
) -> int:
    """Give out the next version number, with the dataset's totals. The update locks the
    dataset's row until the commit, so no two pushes get one number. Totals are summed,
    not set: two commits may come in the other order than their table versions."""
    changes = {
        "latest_version": sa.func.coalesce(datasets.c.latest_version, 0) + 1,
        "rows": datasets.c.rows + version.rows_added - forgotten,
        "quarantined": datasets.c.quarantined + version.rows_quarantined,
    }
    if contract is not None:  # one that is declared, or was inferred first, stays
        changes["contract"] = sa.func.coalesce(
            datasets.c.contract, sa.literal(contract, datasets.c.contract.type)
        )
    statement = (
        sa.update(datasets)
        .where(datasets.c.name == dataset)
        .values(**changes)
        .returning(datasets.c.latest_version)
    )
    return work.execute(statement).scalar_one()


def _find(connection: sa.Connection, push_id: str, *, lock: bool = False) -> Push:
    statement = sa.select(*columns(pushes)).where(pushes.c.id == push_id)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        raise missing("push", push_id)
    return record(Push, row)


def _version_of(connection: sa.Connection, push_id: str) -> DatasetVersion:
    table = dataset_versions
    row = one(connection, sa.select(*columns(table)).where(table.c.push_id == push_id))
    if row is None:
        raise missing("version of push", push_id)
    return record(DatasetVersion, row)
