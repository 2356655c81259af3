"""What is logged to a run while it is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from volant.domain.tracking import DatasetInput, Lifecycle, Metric, ModelLink
from volant.errors import InvalidInput, NotFound
from volant.store.engine import Database, Write
from volant.store.experiments import upsert_pairs
from volant.store.measurements import history, insert_points
from volant.store.prepared import found_by, insert_for
from volant.store.rows import missing, values
from volant.store.tracked_runs import NAME_TAG
from volant.store.tracking_tables import params as run_params
from volant.store.tracking_tables import run_inputs, run_models, tags, tracked_runs


class SqlRunData:
    """`Measurements` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        with self._database.write() as work:
            _must_be_active(work, run_id)
            insert_points(work, run_id, metrics)
            if params:
                add_params(work, run_params, run_id, params)
            if tags:
                _set_tags(work, run_id, tags)

    def untag(self, run_id: str, key: str) -> None:
        with self._database.write() as work:
            _must_be_active(work, run_id)
            if not work.changed(sa.delete(tags).where(tags.c.run_id == run_id, tags.c.key == key)):
                raise NotFound(
                    f"No tag with name: {key[:250]} in run with id {run_id}.",
                    "Look at the run's tags.",
                    code="tracking.no_tag",
                )

    def history(
        self, run_id: str, key: str, limit: int | None = None, offset: int = 0
    ) -> Sequence[Metric]:
        with self._database.read() as connection:
            points = history(connection, run_id, key, limit=limit, offset=offset)
            if not points:
                _lifecycle(connection, run_id)
            return points

    def link(
        self,
        run_id: str,
        inputs: Sequence[DatasetInput] = (),
        read: Sequence[ModelLink] = (),
        made: Sequence[ModelLink] = (),
    ) -> None:
        with self._database.write() as work:
            _must_be_active(work, run_id)
            for one in inputs:
                work.insert_new(run_inputs, values(run_inputs, one, run_id=run_id))
            for links, is_made in ((read, False), (made, True)):
                for link in links:
                    row = {"run_id": run_id, "model_id": link.model_id, "made": is_made}
                    work.insert_new(run_models, {**row, "step": link.step})


def _lifecycle(connection: sa.Connection, run_id: str) -> Lifecycle:
    found = _STATE.rows(connection, run=run_id)
    if not found:
        raise missing("tracked run", run_id)
    return found[0][0]


_STATE = found_by(sa.select(tracked_runs.c.lifecycle), run=tracked_runs.c.id)


def _must_be_active(work: Write, run_id: str) -> None:
    if _lifecycle(work.connection, run_id) is not Lifecycle.ACTIVE:
        raise InvalidInput(
            f"The run {run_id} must be in the 'active' state. Current state is deleted.",
            "Restore the run first.",
            code="not_active",
        )


def add_params(work: Write, table: sa.Table, owner: str, items: Mapping[str, str]) -> None:
    """A param of a run or of a logged model is written once; the same value again is a
    client's retry. Raises `InvalidInput` for another value."""
    own = next(iter(table.primary_key.columns))
    rows = [{own.name: owner, "key": key, "value": value} for key, value in items.items()]
    insert = insert_for(work.connection.dialect.name)
    work.execute(insert(table).on_conflict_do_nothing(), rows)
    c = table.c
    keys = list(items)
    for i in range(0, len(keys), 500):
        stored = sa.select(c.key, c.value).where(own == owner, c.key.in_(keys[i : i + 500]))
        for row in work.execute(stored):
            key, value = row.key, row.value
            if value != items[key]:
                raise InvalidInput(
                    "Changing param values is not allowed. Param with key="
                    f"{key!r} was already logged with value={value[:250]!r} for"
                    f" {own.name.removesuffix('_id')} ID={owner!r}."
                    f" Attempted logging new value {items[key][:250]!r}.",
                    "Log it under another key, or for another run or model.",
                    code="param_changed",
                )


def _set_tags(work: Write, run_id: str, items: Mapping[str, str]) -> None:
    upsert_pairs(work, tags, run_id, items)
    if NAME_TAG in items:
        named = sa.update(tracked_runs).where(tracked_runs.c.id == run_id)
        work.execute(named.values(name=items[NAME_TAG]))
