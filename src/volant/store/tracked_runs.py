"""Tracked runs: their rows, their data, the search over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from volant.domain.query import Comparison, Order, Search
from volant.domain.tracking import (
    DatasetInput,
    Lifecycle,
    Metric,
    ModelLink,
    TrackedRun,
    TrackingStatus,
)
from volant.errors import Conflict
from volant.store.engine import Database, Write
from volant.store.experiments import must_be_active, pairs_of, upsert_pairs
from volant.store.measurements import insert_points
from volant.store.prepared import found_by
from volant.store.rows import columns, missing, values
from volant.store.searching import compared, compared_time, in_pairs, ordered, page_of
from volant.store.tracking_tables import (
    latest_metrics,
    params,
    run_inputs,
    run_models,
    tags,
    tracked_runs,
)

NAME_TAG = "mlflow.runName"
_CHUNK = 500
_ATTRIBUTES: dict[str, Any] = {
    "run_id": tracked_runs.c.id,
    "run_name": tracked_runs.c.name,
    "status": sa.cast(tracked_runs.c.status, sa.Text),
    "artifact_uri": tracked_runs.c.artifact_uri,
    "user_id": tracked_runs.c.user,
    "start_time": tracked_runs.c.started_at,
    "end_time": tracked_runs.c.ended_at,
}
_PAIRS = {"metric": latest_metrics, "param": params, "tag": tags}


class SqlTrackedRuns:
    """`TrackedRunRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, run: TrackedRun) -> TrackedRun:
        with self._database.write() as work:
            must_be_active(work.connection, run.experiment_id)
            if not work.insert_new(tracked_runs, values(tracked_runs, run)):
                raise Conflict(
                    f"A run with the id {run.id} exists already.", "", code="already_exists"
                )
            insert_pairs(work, params, run.id, run.params)
            insert_pairs(work, tags, run.id, run.tags)
            insert_points(work, run.id, run.latest)
        return run

    def get(self, run_id: str) -> TrackedRun:
        with self._database.read() as connection:
            return find_run(connection, run_id)

    def change(
        self,
        run_id: str,
        *,
        name: str | None = None,
        status: TrackingStatus | None = None,
        ended_at: datetime | None = None,
        lifecycle: Lifecycle | None = None,
    ) -> TrackedRun:
        wanted = {"name": name, "status": status, "ended_at": ended_at, "lifecycle": lifecycle}
        changed = {key: value for key, value in wanted.items() if value is not None}
        here = tracked_runs.c.id == run_id
        with self._database.write() as work:
            if changed and not work.changed(sa.update(tracked_runs).where(here).values(**changed)):
                raise missing("tracked run", run_id)
            if name is not None:
                upsert_pairs(work, tags, run_id, {NAME_TAG: name})
            return find_run(work.connection, run_id)

    def search(
        self, experiments: Sequence[str], search: Search
    ) -> tuple[Sequence[TrackedRun], bool]:
        # Metrics are found by value; texts only by key, which most runs of an experiment have.
        few = any(comparison.entity == "metric" for comparison in search.where)
        wanted = sa.and_(
            tracked_runs.c.experiment_id.in_(experiments),
            tracked_runs.c.lifecycle.in_(search.lifecycles),
        )
        statement = sa.select(*columns(tracked_runs)).where(wanted)
        leading, where, orders = _leading(search), search.where, search.order
        with self._database.read() as connection:
            if leading and self._most(connection, wanted):
                statement = _along(statement, orders[0], leading)
                where, orders = [one for one in where if one not in leading], orders[1:]
            statement = statement.where(*(self._condition(one, few=few) for one in where))
            statement = ordered(statement, orders, _ATTRIBUTES, _PAIRS, tracked_runs.c.id)
            statement = statement.order_by(tracked_runs.c.started_at.desc(), tracked_runs.c.id)
            found = (
                connection.execute(statement.limit(search.limit + 1).offset(search.offset))
                .mappings()
                .all()
            )
            rows, more = page_of(found, search.limit)
            return _whole(connection, rows), more

    def _most(self, connection: sa.Connection, wanted: Any) -> bool:
        """Whether an eighth or more of all runs are `wanted`, so that whoever walks along all
        runs meets them. Postgres has statistics, and chooses its way by them."""
        if not self._database.is_sqlite:
            return True
        share = int(connection.execute(_NEWEST).scalar() or 0) // 8
        some = sa.select(sa.literal(1)).where(wanted).limit(share + 1).subquery()
        counted = sa.select(sa.func.count()).select_from(some)
        return int(connection.execute(counted).scalar_one()) > share

    def _condition(self, comparison: Comparison, *, few: bool) -> sa.ColumnElement[Any]:
        sqlite, entity = self._database.is_sqlite, comparison.entity
        if entity in _PAIRS:
            few = few and entity != "metric"
            return in_pairs(_PAIRS[entity], tracked_runs.c.id, comparison, sqlite, few=few)
        if entity == "dataset":
            return tracked_runs.c.id.in_(_with_input(comparison, sqlite))
        column = _ATTRIBUTES[comparison.key]
        if comparison.key.endswith("_time"):
            return compared_time(column, comparison)
        return compared(column, comparison, sqlite)


_NEWEST = sa.select(sa.func.max(tracked_runs.c.seq))


def _leading(search: Search) -> list[Comparison]:
    """The comparisons with the metric that the runs are ordered by first: none of them can be
    without it then, and they can be read in its order."""
    first = search.order[0] if search.order else None
    if first is None or first.entity != "metric":
        return []
    return [
        one
        for one in search.where
        if (one.entity, one.key) == ("metric", first.key) and one.op in ("<", "<=", "=", ">=", ">")
    ]


def _along(statement: Any, order: Order, leading: Sequence[Comparison]) -> Any:
    """`statement` from the metric's values on, in their order, up to the page's last run."""
    beside = latest_metrics.alias()
    own = sa.and_(beside.c.run_id == tracked_runs.c.id, beside.c.key == order.key)
    value = beside.c.value
    held = [compared(value, one, sqlite=True) for one in leading]
    statement = statement.join(beside, own).where(*held)
    return statement.order_by(value.desc() if order.descending else value.asc())


def _with_input(comparison: Comparison, sqlite: bool) -> sa.Select[Any]:
    """Runs that read a dataset with such a name, digest or context (a tag of the input)."""
    if comparison.key == "context":
        path = '$."mlflow.data.context"'
        column: Any = (
            sa.func.json_extract(run_inputs.c.tags, path)
            if sqlite
            else sa.cast(run_inputs.c.tags, sa.Text).op("::json->>")("mlflow.data.context")
        )
    else:
        column = run_inputs.c[comparison.key]
    return sa.select(run_inputs.c.run_id).where(compared(column, comparison, sqlite))


def find_run(connection: sa.Connection, run_id: str) -> TrackedRun:
    """The run with all its data. Raises `NotFound`."""
    found = _ONE.rows(connection, run=run_id)
    if not found:
        raise missing("tracked run", run_id)
    data = _Data(
        {run_id: dict(_PARAMS.rows(connection, run=run_id))},
        {run_id: dict(_TAGS.rows(connection, run=run_id))},
        {run_id: [Metric(*row) for row in _ITS_LATEST.rows(connection, run=run_id)]},
        {run_id: [DatasetInput(*row) for row in _ITS_INPUTS.rows(connection, run=run_id)]},
        {
            run_id: [
                (made, ModelLink(*link)) for made, *link in _ITS_LINKS.rows(connection, run=run_id)
            ]
        },
    )
    return _with(dict(zip(_NAMES, found[0], strict=True)), data)


def insert_pairs(work: Write, table: sa.Table, run_id: str, items: Mapping[str, str]) -> None:
    """Keys and values of a new run."""
    rows = [{"run_id": run_id, "key": key, "value": value} for key, value in items.items()]
    work.insert(table, *rows)


def _whole(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[TrackedRun]:
    """Rows with what other tables hold of them: a few statements for all."""
    ids = [row["id"] for row in rows]
    data = _Data(
        pairs_of(connection, params, ids),
        pairs_of(connection, tags, ids),
        _grouped(_latest(connection, ids)),
        _grouped(_inputs(connection, ids)),
        _grouped(_links(connection, ids)),
    )
    return [_with(row, data) for row in rows]


class _Data(NamedTuple):
    """What other tables hold of runs, by the run's id."""

    params: Mapping[str, Mapping[str, str]]
    tags: Mapping[str, Mapping[str, str]]
    latest: Mapping[str, Sequence[Metric]]
    inputs: Mapping[str, Sequence[DatasetInput]]
    links: Mapping[str, Sequence[tuple[bool, ModelLink]]]  # made or read


def _with(row: Mapping[Any, Any], data: _Data) -> TrackedRun:
    run = row["id"]
    latest, links = data.latest.get(run, ()), data.links.get(run, ())
    return TrackedRun(
        **row,
        params=data.params.get(run, {}),
        tags=data.tags.get(run, {}),
        metrics={point.key: point.value for point in latest},
        latest=tuple(latest),
        inputs=tuple(data.inputs.get(run, ())),
        models_read=tuple(link for made, link in links if not made),
        models_made=tuple(link for made, link in links if made),
    )


def _grouped(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for owner, item in items:
        found.setdefault(owner, []).append(item)
    return found


# Built once: making a statement takes longer than SQLite needs to answer it.
_OWNERS = sa.bindparam("owners", expanding=True)
_L, _I, _M = latest_metrics.c, run_inputs.c, run_models.c
_POINT = (_L.key, _L.value, _L.step, _L.timestamp)
_INPUT = [_I[name] for name in DatasetInput.__dataclass_fields__]
_LINK = (_M.made, _M.model_id, _M.step)
_LATEST = sa.select(_L.run_id, *_POINT).where(_L.run_id.in_(_OWNERS)).order_by(_L.key)
_INPUTS = sa.select(_I.run_id, *_INPUT).where(_I.run_id.in_(_OWNERS)).order_by(_I.seq)
_LINKS = sa.select(_M.run_id, *_LINK).where(_M.run_id.in_(_OWNERS)).order_by(_M.step)

# The same of one run, which clients ask for far more often.
_NAMES = [column.name for column in columns(tracked_runs)]
_ONE = found_by(sa.select(*columns(tracked_runs)), run=tracked_runs.c.id)
_PARAMS = found_by(sa.select(params.c.key, params.c.value), params.c.key, run=params.c.run_id)
_TAGS = found_by(sa.select(tags.c.key, tags.c.value), tags.c.key, run=tags.c.run_id)
_ITS_LATEST = found_by(sa.select(*_POINT), _L.key, run=_L.run_id)
_ITS_INPUTS = found_by(sa.select(*_INPUT), _I.seq, run=_I.run_id)
_ITS_LINKS = found_by(sa.select(*_LINK), _M.step, run=_M.run_id)


def _latest(connection: sa.Connection, ids: Sequence[str]) -> Iterable[tuple[str, Metric]]:
    for some in _chunks(ids):
        for run_id, *point in connection.execute(_LATEST, {"owners": some}):
            yield run_id, Metric(*point)


def _inputs(connection: sa.Connection, ids: Sequence[str]) -> Iterable[tuple[str, DatasetInput]]:
    for some in _chunks(ids):
        for run_id, *row in connection.execute(_INPUTS, {"owners": some}):
            yield run_id, DatasetInput(*row)


def _links(
    connection: sa.Connection, ids: Sequence[str]
) -> Iterable[tuple[str, tuple[bool, ModelLink]]]:
    for some in _chunks(ids):
        for run_id, made, model_id, step in connection.execute(_LINKS, {"owners": some}):
            yield run_id, (made, ModelLink(model_id, step))


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[i : i + _CHUNK] for i in range(0, len(ids), _CHUNK))
