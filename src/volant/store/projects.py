"""Projects with their members, applications and runnables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.application import Application
from volant.domain.event import PROJECT_CREATED, Event
from volant.domain.principal import Role
from volant.domain.project import DEFAULT_PROJECT, Member, Project
from volant.domain.runnable import Runnable, RunnableSpec
from volant.errors import Conflict, NotFound
from volant.store.codeset_tables import codesets
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.project_tables import applications, project_members, projects, runnables
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.schema import models
from volant.store.tracking_tables import experiments, logged_models, tracked_runs

_SHOWN = 5  # things that a refusal names
# Built once: making a statement takes longer than SQLite needs to answer it, and each of
# MLflow's calls asks for a role.
_M = project_members.c
_ROLE = sa.select(_M.role).where(
    _M.project == sa.bindparam("project"), _M.principal == sa.bindparam("principal")
)
_MEMBERS = (
    sa.select(_M.principal, _M.role)
    .where(_M.project == sa.bindparam("project"))
    .order_by(_M.principal)
)
_STANDING = (
    sa.select(projects.c.name, _M.role)
    .outerjoin_from(
        projects,
        project_members,
        sa.and_(_M.project == projects.c.name, _M.principal == sa.bindparam("principal")),
    )
    .where(projects.c.name == sa.bindparam("project"))
)
_ONE = sa.select(*projects.c).where(projects.c.name == sa.bindparam("project"))
_LOCKED = _ONE.with_for_update()


class SqlProjects:
    """`ProjectRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, project: Project, event: Event) -> bool:
        with self._database.write() as work:
            if not work.insert_new(projects, values(projects, project)):
                return False
            for member in project.members:
                row = values(project_members, member, project=project.name)
                work.execute(sa.insert(project_members).values(row))
            emit(work, event)
            return True

    def get(self, name: str) -> Project:
        with self._database.read() as connection:
            return _project(connection, name)

    def list(self) -> Sequence[Project]:
        statement = sa.select(project_members).order_by(project_members.c.principal)
        by_project: dict[str, list[Member]] = {}
        with self._database.read() as connection:
            found = several(connection, Project, sa.select(*projects.c).order_by(projects.c.name))
            for row in connection.execute(statement).mappings():
                member = Member(row["principal"], row["role"])
                by_project.setdefault(row["project"], []).append(member)
        return [replace(each, members=tuple(by_project.get(each.name, ()))) for each in found]

    def describe(self, name: str, description: str, event: Event) -> None:
        update = sa.update(projects).where(projects.c.name == name).values(description=description)
        with self._database.write() as work:
            if not work.changed(update):
                raise _unknown(work.connection, name)
            emit(work, event)

    def set_member(self, name: str, member: Member, event: Event) -> None:
        row = values(project_members, member, project=name)
        with self._database.write() as work:
            _project(work.connection, name, lock=True)
            if not work.insert_new(project_members, row):
                update = sa.update(project_members).where(*_member_is(name, member.principal))
                work.execute(update.values(role=member.role))
            emit(work, event)

    def remove_member(self, name: str, principal: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(project_members).where(*_member_is(name, principal))):
                _project(work.connection, name)
                raise NotFound(
                    f"{principal!r} is no member of the project {name}.",
                    f"`volant project get --name {name}` shows its members.",
                    code="member_not_found",
                )
            emit(work, event)

    def role(self, name: str, principal: str) -> Role | None:
        with self._database.read() as connection:
            return connection.execute(_ROLE, {"project": name, "principal": principal}).scalar()

    def standing(self, name: str, principal: str) -> tuple[bool, Role | None]:
        with self._database.read() as connection:
            row = connection.execute(_STANDING, {"project": name, "principal": principal}).first()
        return (False, None) if row is None else (True, row.role)

    def holds(self, name: str) -> Sequence[str]:
        with self._database.read() as connection:
            return _held(connection, name)

    def delete(self, name: str, event: Event, *, tracked: bool = False) -> None:
        with self._database.write() as work:
            _project(work.connection, name, lock=True)
            if tracked and name != DEFAULT_PROJECT:
                event = replace(event, data={**event.data, "experiments": _forget(work, name)})
            held = _held(work.connection, name)
            if held:
                raise _in_use(name, held)
            work.execute(sa.delete(projects).where(projects.c.name == name))
            emit(work, event)


class SqlApplications:
    """`ApplicationRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, application: Application, event: Event) -> Application:
        with self._database.write() as work:
            if application.project is not None:
                _ensure(work, Project(application.project, application.updated_at))
            if work.insert_new(applications, values(applications, application)):
                emit(work, event)
                return application
            stored = _application(work.connection, application.name, lock=True)
            new = replace(application, created_at=stored.created_at)
            if replace(new, updated_at=stored.updated_at) == stored:
                return stored
            work.execute(
                sa.update(applications)
                .where(applications.c.name == new.name)
                .values(values(applications, new))
            )
            emit(work, event)
            return new

    def get(self, name: str) -> Application:
        with self._database.read() as connection:
            return _application(connection, name)

    def list(
        self, *, type: str | None = None, workflow: str | None = None, project: str | None = None
    ) -> Sequence[Application]:
        statement = sa.select(*applications.c).order_by(applications.c.name)
        for column, value in (("type", type), ("workflow", workflow), ("project", project)):
            if value is not None:
                statement = statement.where(applications.c[column] == value)
        with self._database.read() as connection:
            return several(connection, Application, statement)

    def delete(self, name: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(applications).where(applications.c.name == name)):
                _application(work.connection, name)
            emit(work, event)


class SqlRunnables:
    """`RunnableRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, runnable: Runnable, event: Event) -> Runnable:
        with self._database.write() as work:
            if work.insert_new(runnables, _row(runnable)):
                emit(work, event)
                return runnable
            stored = _runnable(work.connection, runnable.spec.id)
            if stored.spec == runnable.spec:
                return stored
        raise Conflict(
            f"There is another runnable {runnable.spec.id!r}.",
            "Change it with `volant runnable update FILE`, or give this one another id.",
            code="runnable_exists",
        )

    def update(self, spec: RunnableSpec, event: Event) -> Runnable:
        with self._database.write() as work:
            stored = _runnable(work.connection, spec.id, lock=True)
            if stored.spec == spec:
                return stored
            new = replace(
                stored, spec=spec, updated_at=event.time, generation=stored.generation + 1
            )
            update = sa.update(runnables).where(runnables.c.id == spec.id)
            work.execute(update.values(_row(new)))
            emit(work, replace(event, data={**event.data, "generation": new.generation}))
            return new

    def get(self, runnable_id: str) -> Runnable:
        with self._database.read() as connection:
            return _runnable(connection, runnable_id)

    def list(self) -> Sequence[Runnable]:
        statement = sa.select(*_RUNNABLE).order_by(runnables.c.id)
        with self._database.read() as connection:
            return several(connection, Runnable, statement)

    def delete(self, runnable_id: str, event: Event) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(runnables).where(runnables.c.id == runnable_id)):
                _runnable(work.connection, runnable_id)
            emit(work, event)


_RUNNABLE = [column for column in runnables.c if column.name not in ("id", "kind")]


def _row(runnable: Runnable) -> dict[str, object]:
    return values(runnables, runnable, id=runnable.spec.id, kind=runnable.spec.kind)


def _ensure(work: Write, project: Project) -> None:
    """Make it in an open transaction unless it is there, with its event."""
    if work.insert_new(projects, values(projects, project)):
        emit(
            work,
            Event(
                id=f"evt-project-{project.name}-{project.created_at.timestamp():.6f}",
                type=PROJECT_CREATED,
                source="volant/projects",
                subject=f"project/{project.name}",
                time=project.created_at,
                data={"project": project.name},
            ),
        )


def _member_is(project: str, principal: str) -> tuple[sa.ColumnElement[bool], ...]:
    table = project_members.c
    return table.project == project, table.principal == principal


def _project(connection: sa.Connection, name: str, *, lock: bool = False) -> Project:
    asked = {"project": name}
    row = connection.execute(_LOCKED if lock else _ONE, asked).mappings().one_or_none()
    if row is None:
        raise _unknown(connection, name)
    members = connection.execute(_MEMBERS, asked)
    return Project(**row, members=tuple(Member(*each) for each in members))


def _unknown(connection: sa.Connection, name: str) -> NotFound:
    return missing("project", name, connection.execute(sa.select(projects.c.name)).scalars())


def _held(connection: sa.Connection, name: str) -> list[str]:
    found: list[str] = []
    tables = [("codeset", codesets), ("application", applications)]
    if name != DEFAULT_PROJECT:  # what is tracked there stays when the row goes
        tables += [("experiment", experiments), ("model", models)]
    for noun, table in tables:
        names = sa.select(table.c.name).where(table.c.project == name).order_by(table.c.name)
        found += [f"{noun} {each}" for each in connection.execute(names).scalars()]
    return found


def _forget(work: Write, name: str) -> list[str]:
    """Remove what was tracked in a project; what points at runs and models goes with them."""
    own = sa.select(experiments.c.id).where(experiments.c.project == name)
    ids = list(work.execute(own.order_by(experiments.c.seq)).scalars())
    for table in (tracked_runs, logged_models):
        work.execute(sa.delete(table).where(table.c.experiment_id.in_(own)))
    work.execute(sa.delete(experiments).where(experiments.c.project == name))
    return ids


def _in_use(name: str, held: Sequence[str]) -> Conflict:
    shown = ", ".join(held[:_SHOWN])
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return Conflict(
        f"The project {name} isn't empty: it holds {shown}{more}.",
        "Delete these first: `volant codeset delete`, `volant application delete`; what MLflow"
        " tracked there goes with `mlflow.delete_workspace(NAME, mode='CASCADE')`.",
        code="project_in_use",
        details={"project": name, "holds": list(held)},
    )


def _application(connection: sa.Connection, name: str, *, lock: bool = False) -> Application:
    statement = sa.select(*columns(applications)).where(applications.c.name == name)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        names = connection.execute(sa.select(applications.c.name)).scalars()
        raise missing("application", name, names)
    return record(Application, row)


def _runnable(connection: sa.Connection, runnable_id: str, *, lock: bool = False) -> Runnable:
    statement = sa.select(*_RUNNABLE).where(runnables.c.id == runnable_id)
    row = one(connection, statement.with_for_update() if lock else statement)
    if row is None:
        raise missing(
            "runnable", runnable_id, connection.execute(sa.select(runnables.c.id)).scalars()
        )
    return record(Runnable, row)
