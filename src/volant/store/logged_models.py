"""Models that runs logged, before or without being registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.query import Comparison, MeasuredOn, Order, Search
from volant.domain.tracking import LoggedModel, LoggedModelStatus
from volant.errors import Conflict, NotFound
from volant.store.engine import Database
from volant.store.experiments import must_be_active, pairs_of, upsert_pairs
from volant.store.measurements import of_models
from volant.store.rows import columns, values
from volant.store.run_data import add_params
from volant.store.searching import Beside, compared, compared_time, in_pairs, ordered, page_of
from volant.store.tracking_tables import (
    logged_model_params,
    logged_model_tags,
    logged_models,
    metrics,
)

_ATTRIBUTES: dict[str, Any] = {
    "model_id": logged_models.c.id,
    "name": logged_models.c.name,
    "model_name": logged_models.c.name,
    "model_type": logged_models.c.model_type,
    "status": sa.cast(logged_models.c.status, sa.Text),
    "source_run_id": logged_models.c.run_id,
    "experiment_id": logged_models.c.experiment_id,
    "creation_timestamp": logged_models.c.created_at,
    "last_updated_timestamp": logged_models.c.updated_at,
}
_PAIRS = {"param": logged_model_params, "tag": logged_model_tags}


class SqlLoggedModels:
    """`LoggedModelRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, model: LoggedModel) -> LoggedModel:
        with self._database.write() as work:
            must_be_active(work.connection, model.experiment_id)
            if not work.insert_new(logged_models, values(logged_models, model)):
                raise Conflict(
                    f"A logged model with the id {model.id} exists already.",
                    "",
                    code="already_exists",
                )
            upsert_pairs(work, logged_model_params, model.id, model.params)
            upsert_pairs(work, logged_model_tags, model.id, model.tags)
        return model

    def get(self, model_id: str) -> LoggedModel:
        with self._database.read() as connection:
            return _find(connection, model_id)

    def change(
        self,
        model_id: str,
        *,
        status: LoggedModelStatus | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> LoggedModel:
        changed: dict[str, Any] = {"updated_at": datetime.now(UTC)}
        if status is not None:
            changed["status"] = status
        here = logged_models.c.id == model_id
        with self._database.write() as work:
            if not work.changed(sa.update(logged_models).where(here).values(**changed)):
                raise _missing(model_id)
            if params:
                add_params(work, logged_model_params, model_id, params)
            upsert_pairs(work, logged_model_tags, model_id, tags or {})
            if without is not None:
                c = logged_model_tags.c
                work.execute(
                    sa.delete(logged_model_tags).where(c.model_id == model_id, c.key == without)
                )
            return _find(work.connection, model_id)

    def delete(self, model_id: str) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(logged_models).where(logged_models.c.id == model_id)):
                raise _missing(model_id)

    def search(
        self, experiments: Sequence[str], search: Search
    ) -> tuple[Sequence[LoggedModel], bool]:
        c = logged_models.c
        statement = sa.select(*columns(logged_models)).where(
            c.experiment_id.in_(experiments),
            *(self._condition(each, search.datasets) for each in search.where),
        )
        if search.datasets and all(each.entity != "metric" for each in search.where):
            statement = statement.where(c.id.in_(_measured(search.datasets)))
        orders = [*search.order, Order("attribute", "creation_timestamp", descending=True)]
        statement = ordered(statement, orders, _ATTRIBUTES, _ORDERED, c.id).order_by(c.seq.desc())
        with self._database.read() as connection:
            found = (
                connection.execute(statement.limit(search.limit + 1).offset(search.offset))
                .mappings()
                .all()
            )
            rows, more = page_of(found, search.limit)
            return _whole(connection, rows), more

    def _condition(
        self, comparison: Comparison, datasets: Sequence[MeasuredOn]
    ) -> sa.ColumnElement[Any]:
        sqlite = self._database.is_sqlite
        if comparison.entity in _PAIRS:
            table = _PAIRS[comparison.entity]
            return in_pairs(table, logged_models.c.id, comparison, sqlite)
        if comparison.entity == "metric":
            held = compared(metrics.c.value, comparison, sqlite)
            chosen = _measured(datasets).where(metrics.c.key == comparison.key, held)
            return logged_models.c.id.in_(chosen)
        column = _ATTRIBUTES[comparison.key]
        if comparison.key.endswith("_timestamp"):
            return compared_time(column, comparison)
        return compared(column, comparison, sqlite)


def _measured(datasets: Sequence[MeasuredOn]) -> sa.Select[Any]:
    """The models that have a metric, measured on one of the datasets if there are any."""
    c = metrics.c
    chosen = sa.select(c.model_id).where(c.model_id.is_not(None))
    on = [sa.and_(c.dataset_name == one.name, c.dataset_digest == one.digest) for one in datasets]
    return chosen.where(sa.or_(*on)) if on else chosen


def _newest(order: Order) -> sa.FromClause:
    """The newest point of a metric for each model, as MLflow has it: by time, then by step."""
    c = metrics.c
    age = (c.timestamp.desc(), c.step.desc(), c.run_id, c.seq.desc())
    place = sa.func.row_number().over(partition_by=c.model_id, order_by=age)
    points = sa.select(c.model_id.label("owner"), c.key, c.value, place.label("place")).where(
        c.key == order.key, c.model_id.is_not(None)
    )
    if order.on.name:
        points = points.where(c.dataset_name == order.on.name)
    if order.on.digest:
        points = points.where(c.dataset_digest == order.on.digest)
    ranked = points.subquery()
    return sa.select(ranked).where(ranked.c.place == 1).subquery()


_ORDERED: dict[str, Beside] = {**_PAIRS, "metric": _newest}


def _missing(model_id: str) -> NotFound:
    return NotFound(
        f"Logged model with ID {model_id[:100]!r} not found.",
        "`mlflow.search_logged_models()` lists them.",
        code="tracking.no_logged_model",
    )


def _find(connection: sa.Connection, model_id: str) -> LoggedModel:
    statement = sa.select(*columns(logged_models)).where(logged_models.c.id == model_id)
    found = _whole(connection, connection.execute(statement).mappings().all())
    if not found:
        raise _missing(model_id)
    return found[0]


def _whole(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[LoggedModel]:
    ids = [row["id"] for row in rows]
    with_params = pairs_of(connection, logged_model_params, ids)
    with_tags = pairs_of(connection, logged_model_tags, ids)
    measured = of_models(connection, ids)
    return [
        LoggedModel(
            **row,
            params=with_params.get(row["id"], {}),
            tags=with_tags.get(row["id"], {}),
            metrics=measured.get(row["id"], ()),
        )
        for row in rows
    ]
