"""Runs: their unchanging facts. The engine holds their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.run import Run
from volant.store.engine import Database
from volant.store.events import emit
from volant.store.rows import columns, missing, one, page, paged, record, values
from volant.store.schema import model_versions, runs
from volant.store.workflow_tables import workflows

_RUN = [column for column in columns(runs) if column.name != "workflow_name"]
_REGISTERED = sa.select(workflows.c.name)


class SqlRuns:
    """`RunRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, run: Run, event: Event | None = None) -> Run:
        with self._database.write() as work:
            row = values(runs, run, workflow_name=run.workflow.name)
            if work.insert_new(runs, row) and event is not None:
                emit(work, event)
            return _find(work.connection, run.id)

    def get(self, run_id: str) -> Run:
        with self._database.read() as connection:
            return _find(connection, run_id)

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
        wanted = {
            runs.c.loop: loop,
            runs.c.workflow_name: workflow,
            runs.c.project: project,
            runs.c.codeset: codeset,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        if registered:
            conditions += [runs.c.loop.is_(None), runs.c.workflow_name.in_(_REGISTERED)]
        statement = sa.select(*_RUN).where(*conditions)
        with self._database.read() as connection:
            rows, following = page(connection, statement, runs.c.seq, limit, before)
        return paged(Run, rows), following

    def makers(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        with self._database.read() as connection:
            return _makers(connection, run_ids)

    def delete(self, run_ids: Sequence[str], event: Event) -> Sequence[str]:
        with self._database.write() as work:
            known = set(work.execute(sa.select(runs.c.id).where(runs.c.id.in_(run_ids))).scalars())
            going = known - _makers(work.connection, run_ids).keys()
            going = _unneeded(work.connection, going)
            if not going:
                return []
            work.execute(sa.delete(runs).where(runs.c.id.in_(going)))
            gone = [run_id for run_id in run_ids if run_id in going]
            emit(work, replace(event, data={**event.data, "runs": gone}))
            return gone


def _makers(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, str]:
    table = model_versions
    found = connection.execute(
        sa.select(table.c.run_id, table.c.model, table.c.version).where(table.c.run_id.in_(run_ids))
    )
    return {run_id: f"{model} version {version}" for run_id, model, version in found}


def _unneeded(connection: sa.Connection, going: set[str]) -> set[str]:
    """`going` without the runs that one which stays is a retry of, and so on back."""
    while True:
        statement = sa.select(runs.c.retry_of).where(
            runs.c.retry_of.in_(going), runs.c.id.not_in(going)
        )
        needed = set(connection.execute(statement).scalars())
        if not needed:
            return going
        going = going - needed


def _find(connection: sa.Connection, run_id: str) -> Run:
    row = one(connection, sa.select(*_RUN).where(runs.c.id == run_id))
    if row is None:
        raise missing("run", run_id)
    return record(Run, row)
