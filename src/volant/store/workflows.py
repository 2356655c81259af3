"""Registered workflows: versions, assignments, triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from volant.domain.catalog import Assignment, RegisteredWorkflow, WorkflowVersion
from volant.domain.event import Event
from volant.domain.trigger import Trigger
from volant.errors import Conflict, NotFound
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.workflow_tables import (
    assignments,
    workflow_triggers,
    workflow_versions,
    workflows,
)

_TRIGGER = [
    column.label("loop") if column.name == "workflow" else column for column in workflow_triggers.c
]


class SqlWorkflows:
    """`WorkflowRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        version: WorkflowVersion,
        description: str,
        triggers: Sequence[Trigger],
        event: Event,
        *,
        new: bool,
    ) -> RegisteredWorkflow:
        name = version.workflow
        with self._database.write() as work:
            first = RegisteredWorkflow(name, 1, version.created_at, version.created_at, description)
            if new and work.insert_new(workflows, values(workflows, first)):
                stored = first
            else:
                old = _find(work.connection, name, lock=True)
                if _version(work.connection, name, old.version).sha256 == version.sha256:
                    return old
                if new:
                    raise _taken(name)
                stored = _raise(work, old, version, description)
            row = values(workflow_versions, replace(version, version=stored.version))
            work.execute(sa.insert(workflow_versions).values(row))
            _set_triggers(work, name, triggers)
            emit(work, replace(event, data={**event.data, "version": stored.version}))
            return stored

    def get(self, name: str) -> RegisteredWorkflow:
        with self._database.read() as connection:
            return _find(connection, name)

    def list(self) -> Sequence[RegisteredWorkflow]:
        statement = sa.select(*columns(workflows)).order_by(workflows.c.name)
        with self._database.read() as connection:
            return several(connection, RegisteredWorkflow, statement)

    def version(self, name: str, version: int | None = None) -> WorkflowVersion:
        with self._database.read() as connection:
            newest = _find(connection, name).version
            return _version(connection, name, newest if version is None else version)

    def versions(self, name: str) -> Sequence[WorkflowVersion]:
        table = workflow_versions
        statement = sa.select(*columns(table)).where(table.c.workflow == name)
        with self._database.read() as connection:
            _find(connection, name)
            return several(connection, WorkflowVersion, statement.order_by(table.c.version.desc()))

    def delete(self, name: str, event: Event) -> Sequence[Assignment]:
        with self._database.write() as work:
            _find(work.connection, name, lock=True)
            held = several(work.connection, Assignment, _assigned(workflow=name))
            work.execute(sa.delete(workflows).where(workflows.c.name == name))
            emit(work, event)
            return held


class SqlAssignments:
    """`AssignmentRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, assignment: Assignment, event: Event) -> bool:
        with self._database.write() as work:
            _find(work.connection, assignment.workflow, lock=True)
            if not work.insert_new(assignments, values(assignments, assignment)):
                return False
            emit(work, event)
            return True

    def remove(self, workflow: str, project: str, codeset: str, event: Event) -> None:
        table = assignments
        guarded = sa.delete(table).where(
            table.c.workflow == workflow, table.c.project == project, table.c.codeset == codeset
        )
        with self._database.write() as work:
            if not work.changed(guarded):
                raise NotFound(
                    f"The workflow {workflow!r} isn't assigned to {project}/{codeset}.",
                    "`volant workflow list-assignments` shows what is.",
                    code="not_assigned",
                    details={"workflow": workflow, "project": project, "codeset": codeset},
                )
            emit(work, event)

    def list(
        self,
        *,
        workflow: str | None = None,
        project: str | None = None,
        codeset: str | None = None,
    ) -> Sequence[Assignment]:
        statement = _assigned(workflow=workflow, project=project, codeset=codeset)
        with self._database.read() as connection:
            return several(connection, Assignment, statement)


class SqlWorkflowTriggers:
    """`WorkflowTriggerRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_dataset(self, dataset: str) -> Sequence[Trigger]:
        table = workflow_triggers
        return self._all(table.c.kind == "data", table.c.dataset == dataset)

    def due(self, now: datetime) -> Sequence[Trigger]:
        table = workflow_triggers
        return self._all(table.c.kind == "cron", table.c.next_at <= now)

    def list(self, loop: str | None = None) -> Sequence[Trigger]:
        return self._all(*([] if loop is None else [workflow_triggers.c.workflow == loop]))

    def advance(self, trigger_id: str, expected: datetime, next_at: datetime, event: Event) -> bool:
        table = workflow_triggers
        guarded = (
            sa.update(table)
            .where(table.c.id == trigger_id, table.c.next_at == expected)
            .values(next_at=next_at)
        )
        with self._database.write() as work:
            if not work.changed(guarded):
                return False
            emit(work, event)
            return True

    def _all(self, *conditions: sa.ColumnElement[bool]) -> Sequence[Trigger]:
        statement = sa.select(*_TRIGGER).where(*conditions).order_by(workflow_triggers.c.id)
        with self._database.read() as connection:
            return several(connection, Trigger, statement)


def _raise(
    work: Write, old: RegisteredWorkflow, version: WorkflowVersion, description: str
) -> RegisteredWorkflow:
    stored = replace(
        old,
        version=old.version + 1,
        updated_at=version.created_at,
        description=description,
    )
    work.execute(
        sa.update(workflows)
        .where(workflows.c.name == old.name, workflows.c.version == old.version)
        .values(values(workflows, stored))
    )
    return stored


def _set_triggers(work: Write, name: str, new: Sequence[Trigger]) -> None:
    """A schedule that stays the same keeps its next time."""
    table = workflow_triggers
    kept = {
        (row.cron, row.id): row.next_at
        for row in work.execute(sa.select(table).where(table.c.workflow == name))
    }
    work.execute(sa.delete(table).where(table.c.workflow == name))
    for trigger in new:
        following = kept.get((trigger.cron, trigger.id), trigger.next_at)
        row = values(table, trigger, workflow=name, next_at=following)
        work.execute(sa.insert(table).values(row))


def _assigned(
    *, workflow: str | None = None, project: str | None = None, codeset: str | None = None
) -> sa.Select[tuple[object, ...]]:
    table = assignments
    wanted = {
        table.c.workflow: workflow,
        table.c.project: project,
        table.c.codeset: codeset,
    }
    conditions = [column == value for column, value in wanted.items() if value is not None]
    order = (table.c.workflow, table.c.project, table.c.codeset)
    return sa.select(*columns(table)).where(*conditions).order_by(*order)


def _find(connection: sa.Connection, name: str, *, lock: bool = False) -> RegisteredWorkflow:
    statement = sa.select(*columns(workflows)).where(workflows.c.name == name)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        known = connection.execute(sa.select(workflows.c.name)).scalars()
        raise missing("workflow", name, known)
    return record(RegisteredWorkflow, row)


def _version(connection: sa.Connection, name: str, version: int) -> WorkflowVersion:
    table = workflow_versions
    statement = sa.select(*columns(table)).where(
        table.c.workflow == name, table.c.version == version
    )
    row = one(connection, statement)
    if row is None:
        raise NotFound(
            f"The workflow {name!r} has no version {version}.",
            f"`volant workflow versions {name}` shows them.",
            details={"noun": "workflow version", "name": name, "version": version},
        )
    return record(WorkflowVersion, row)


def _taken(name: str) -> Conflict:
    return Conflict(
        f"There is a workflow {name!r} already, with another text.",
        "Store the text as its next version with `volant workflow update FILE`, or give it"
        " another name.",
        code="workflow_exists",
        details={"workflow": name},
    )
