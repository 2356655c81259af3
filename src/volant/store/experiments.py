"""Experiments and their tags."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.query import Comparison, Order, Search
from volant.domain.tracking import Experiment, Lifecycle
from volant.errors import Conflict, InvalidInput, NotFound
from volant.store.engine import Database, Write
from volant.store.owners import artifact_root, hold_project
from volant.store.prepared import found_by
from volant.store.rows import columns
from volant.store.searching import compared, compared_time, in_pairs, ordered, page_of
from volant.store.tracking_tables import experiment_tags, experiments, tracked_runs

_ATTRIBUTES: dict[str, Any] = {
    "name": experiments.c.name,
    "experiment_id": experiments.c.id,
    "creation_time": experiments.c.created_at,
    "last_update_time": experiments.c.updated_at,
}


class SqlExperiments:
    """`ExperimentRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        artifact_location: str = "",
        tags: Mapping[str, str] | None = None,
        project: str = DEFAULT_PROJECT,
        exist_ok: bool = False,
    ) -> Experiment:
        # 18 digits, as MLflow's own clients expect of an experiment's id
        number = str(10**17 + secrets.randbelow(9 * 10**17))
        now = datetime.now(UTC)
        row = {
            "id": number,
            "name": name,
            "created_at": now,
            "updated_at": now,
            "artifact_location": artifact_location or artifact_root(project, number),
            "lifecycle": Lifecycle.ACTIVE,
            "project": project,
        }
        with self._database.write() as work:
            hold_project(work, project)
            if work.insert_new(experiments, row):
                _set_tags(work, number, tags or {})
                return _find(work.connection, experiments.c.id == number, number)
            found = _find(work.connection, _called(name, project), name)
        if exist_ok:
            return found
        state = "" if found.lifecycle is Lifecycle.ACTIVE else ", deleted"
        raise Conflict(
            f"Experiment(name={name}) already exists{state}.",
            "Use it, restore it, or choose another name.",
            code="already_exists",
            details={"experiment": found.id},
        )

    def get(self, experiment_id: str) -> Experiment:
        with self._database.read() as connection:
            found = _ONE.rows(connection, experiment=experiment_id)
            if not found:
                raise _absent(experiment_id)
            row = dict(zip(_NAMES, found[0], strict=True))
            tags = dict(_ITS_TAGS.rows(connection, experiment=experiment_id))
            return _whole(row, tags)

    def by_name(self, name: str, project: str = DEFAULT_PROJECT) -> Experiment:
        with self._database.read() as connection:
            return _find(connection, _called(name, project), name)

    def change(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        lifecycle: Lifecycle | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> Experiment:
        here = experiments.c.id == experiment_id
        with self._database.write() as work:
            project = _find(work.connection, here, experiment_id).project
            _set_tags(work, experiment_id, tags or {})
            if without is not None:
                _remove_tag(work, experiment_id, without)
            changed: dict[str, Any] = {"updated_at": datetime.now(UTC)}
            if name is not None:
                _check_free(work, experiment_id, name, project)
                changed["name"] = name
            if lifecycle is not None:
                changed["lifecycle"] = lifecycle
                work.execute(
                    sa.update(tracked_runs)
                    .where(tracked_runs.c.experiment_id == experiment_id)
                    .values(lifecycle=lifecycle)
                )
            work.execute(sa.update(experiments).where(here).values(**changed))
            return _find(work.connection, here, experiment_id)

    def search(self, search: Search) -> tuple[Sequence[Experiment], bool]:
        statement = sa.select(*columns(experiments)).where(
            experiments.c.lifecycle.in_(search.lifecycles),
            *(self._condition(comparison) for comparison in search.where),
        )
        if search.project is not None:
            statement = statement.where(experiments.c.project == search.project)
        orders = [*search.order, Order("attribute", "creation_time", descending=True)]
        statement = ordered(
            statement, orders, _ATTRIBUTES, {"tag": experiment_tags}, experiments.c.id
        )
        statement = (
            statement.order_by(experiments.c.seq.desc())
            .limit(search.limit + 1)
            .offset(search.offset)
        )
        with self._database.read() as connection:
            rows, more = page_of(connection.execute(statement).mappings().all(), search.limit)
            return whole_experiments(connection, rows), more

    def _condition(self, comparison: Comparison) -> sa.ColumnElement[Any]:
        sqlite = self._database.is_sqlite
        if comparison.entity == "tag":
            return in_pairs(experiment_tags, experiments.c.id, comparison, sqlite)
        column = _ATTRIBUTES[comparison.key]
        if comparison.key.endswith("_time"):
            return compared_time(column, comparison)
        return compared(column, comparison, sqlite)


def must_be_active(connection: sa.Connection, experiment_id: str) -> None:
    """Raises `NotFound`, or `InvalidInput` for a deleted experiment."""
    found = _STATE.rows(connection, experiment=experiment_id)
    if not found:
        raise _absent(experiment_id)
    state: Lifecycle = found[0][0]
    if state is not Lifecycle.ACTIVE:
        raise InvalidInput(
            f"The experiment {experiment_id} must be in the 'active' state."
            f" Current state is {state.value}.",
            "Restore the experiment first.",
            code="not_active",
        )


def _find(connection: sa.Connection, where: Any, asked: str) -> Experiment:
    statement = sa.select(*columns(experiments)).where(where)
    found = whole_experiments(connection, connection.execute(statement).mappings().all())
    if not found:
        raise _absent(asked)
    return found[0]


def _absent(asked: str) -> NotFound:
    return NotFound(
        f"There is no experiment {asked[:500]!r}.",
        "`mlflow.search_experiments()` lists them; create_experiment makes one.",
        code="tracking.no_experiment",
    )


_NAMES = [column.name for column in columns(experiments)]
_ONE = found_by(sa.select(*columns(experiments)), experiment=experiments.c.id)
_STATE = found_by(sa.select(experiments.c.lifecycle), experiment=experiments.c.id)
_ITS_TAGS = found_by(
    sa.select(experiment_tags.c.key, experiment_tags.c.value),
    experiment_tags.c.key,
    experiment=experiment_tags.c.experiment_id,
)


def whole_experiments(
    connection: sa.Connection, rows: Sequence[Mapping[Any, Any]]
) -> list[Experiment]:
    """Rows with their tags."""
    tags = pairs_of(connection, experiment_tags, [row["id"] for row in rows])
    return [_whole(row, tags.get(row["id"], {})) for row in rows]


def _whole(row: Mapping[Any, Any], tags: Mapping[str, str]) -> Experiment:
    return Experiment(**{**row, "updated_at": row["updated_at"] or row["created_at"]}, tags=tags)


def pairs_of(
    connection: sa.Connection, table: sa.Table, owners: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Keys and values by owner."""
    found: dict[str, dict[str, str]] = {}
    for i in range(0, len(owners), 500):
        rows = connection.execute(_pairs(table), {"owners": owners[i : i + 500]})
        for owner, key, value in rows:
            found.setdefault(owner, {})[key] = value
    return found


@cache
def _pairs(table: sa.Table) -> sa.Select[Any, Any, Any]:
    own = next(iter(table.primary_key.columns))
    owners = own.in_(sa.bindparam("owners", expanding=True))
    return sa.select(own, table.c.key, table.c.value).where(owners).order_by(table.c.key)


def upsert_pairs(work: Write, table: sa.Table, owner: str, items: Mapping[str, str]) -> None:
    """Set keys of one owner to new values."""
    own = next(iter(table.primary_key.columns))
    rows = [{own.name: owner, "key": key, "value": value} for key, value in items.items()]
    work.upsert(table, rows, ["value"])


def _set_tags(work: Write, experiment_id: str, tags: Mapping[str, str]) -> None:
    upsert_pairs(work, experiment_tags, experiment_id, tags)


def _remove_tag(work: Write, experiment_id: str, key: str) -> None:
    c = experiment_tags.c
    if not work.changed(
        sa.delete(experiment_tags).where(c.experiment_id == experiment_id, c.key == key)
    ):
        raise NotFound(
            f"No tag with name: {key[:250]} in experiment with id {experiment_id}.",
            "Look at the experiment's tags.",
            code="tracking.no_tag",
        )


def _called(name: str, project: str) -> sa.ColumnElement[bool]:
    return sa.and_(experiments.c.project == project, experiments.c.name == name)


def _check_free(work: Write, experiment_id: str, name: str, project: str) -> None:
    taken = work.execute(sa.select(experiments.c.id).where(_called(name, project))).scalar()
    if taken is not None and taken != experiment_id:
        raise Conflict(
            f"Experiment(name={name}) already exists.",
            "Choose another name.",
            code="already_exists",
            details={"experiment": taken},
        )
