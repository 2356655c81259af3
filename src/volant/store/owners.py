"""Whose what is: the project of an experiment, a run, a logged or a registered model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.tracking import WORKSPACES, Noun
from volant.store.engine import Database, Write
from volant.store.prepared import found_by
from volant.store.project_tables import projects
from volant.store.rows import missing
from volant.store.schema import models
from volant.store.tracking_tables import experiments, logged_models, tracked_runs

_CHUNK = 500
_IDS = sa.bindparam("ids", expanding=True)


def _of_children(table: sa.Table) -> sa.Select[Any, Any]:
    return sa.select(table.c.id, experiments.c.project).join(
        experiments, experiments.c.id == table.c.experiment_id
    )


# Built once: making a statement takes longer than SQLite needs to answer it.
_ALL: Mapping[Noun, tuple[sa.Select[Any, Any], sa.Column[Any]]] = {
    Noun.EXPERIMENT: (sa.select(experiments.c.id, experiments.c.project), experiments.c.id),
    Noun.RUN: (_of_children(tracked_runs), tracked_runs.c.id),
    Noun.LOGGED_MODEL: (_of_children(logged_models), logged_models.c.id),
    Noun.MODEL: (sa.select(models.c.name, models.c.project), models.c.name),
}
_PROJECTS = {noun: found.where(own.in_(_IDS)) for noun, (found, own) in _ALL.items()}
_PROJECT = {noun: found_by(found, id=own) for noun, (found, own) in _ALL.items()}


class SqlOwners:
    """`OwnerRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def projects(self, noun: Noun, ids: Iterable[str]) -> Mapping[str, str]:
        wanted = list(ids)
        found: dict[str, str] = {}
        with self._database.read() as connection:
            if len(wanted) == 1:
                return dict(_PROJECT[noun].rows(connection, id=wanted[0]))
            for i in range(0, len(wanted), _CHUNK):
                rows = connection.execute(_PROJECTS[noun], {"ids": wanted[i : i + _CHUNK]})
                found.update((key, project) for key, project in rows)
        return found


def artifact_root(project: str, experiment_id: str) -> str:
    """Where an experiment's artifacts go: a project's own are together, as MLflow has them."""
    inside = "" if project == DEFAULT_PROJECT else f"{WORKSPACES}/{project}/"
    return f"mlflow-artifacts:/{inside}{experiment_id}"


def hold_project(work: Write, project: str) -> None:
    """Keep a project from being deleted before this transaction ends, which puts something
    into it. Raises `NotFound`."""
    if project == DEFAULT_PROJECT:
        return
    # SQLite has one writer at a time; Postgres locks the row, which a deletion waits for.
    there = sa.select(projects.c.name).where(projects.c.name == project)
    if work.execute(there.with_for_update(read=True)).scalar() is None:
        known = work.execute(sa.select(projects.c.name)).scalars()
        raise missing("project", project, known)
