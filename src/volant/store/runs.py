"""Runs: their unchanging facts. The engine holds their state."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.run import Run
from volant.store.engine import Database
from volant.store.events import emit
from volant.store.rows import columns, missing, one, page, paged, record, values
from volant.store.schema import runs

_RUN = [column for column in columns(runs) if column.name != "workflow_name"]


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
    ) -> tuple[Sequence[Run], str | None]:
        wanted = {
            runs.c.loop: loop,
            runs.c.workflow_name: workflow,
            runs.c.project: project,
            runs.c.codeset: codeset,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        statement = sa.select(*_RUN).where(*conditions)
        with self._database.read() as connection:
            rows, following = page(connection, statement, runs.c.seq, limit, before)
        return paged(Run, rows), following


def _find(connection: sa.Connection, run_id: str) -> Run:
    row = one(connection, sa.select(*_RUN).where(runs.c.id == run_id))
    if row is None:
        raise missing("run", run_id)
    return record(Run, row)
