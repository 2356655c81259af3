"""Statements compiled once: values in and out, counts, and errors as everywhere else."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from volant.domain.tracking import Lifecycle
from volant.errors import Conflict, InvalidInput, VolantError
from volant.store import Store
from volant.store.engine import Database
from volant.store.prepared import Prepared, insert_for
from volant.store.tracking_tables import experiments, latest_metrics, tracked_runs

NOW = datetime(2030, 1, 1, 12, 0, 0, 250, tzinfo=UTC)
ROW = {
    "experiment_id": "0",
    "name": "a",
    "status": "RUNNING",
    "started_at": NOW,
    "ended_at": None,
    "artifact_uri": "u",
    "user": "me",
    "lifecycle": Lifecycle.ACTIVE,
}
ONE = Prepared(
    lambda _: sa.select(
        tracked_runs.c.started_at, tracked_runs.c.ended_at, tracked_runs.c.lifecycle
    ).where(tracked_runs.c.id == sa.bindparam("run"))
)
POINTS = Prepared(
    lambda dialect: (
        insert_for(dialect)(latest_metrics)
        .values({column.name: sa.bindparam(column.name) for column in latest_metrics.c})
        .on_conflict_do_nothing()
    )
)
VALUES = Prepared(
    lambda _: (
        sa.select(latest_metrics.c.key, latest_metrics.c.value)
        .where(latest_metrics.c.run_id == sa.bindparam("run"))
        .order_by(latest_metrics.c.key)
    )
)


def point(key: str, value: float, run: str = "r1") -> dict[str, object]:
    return {"run_id": run, "key": key, "value": value, "step": 0, "timestamp": 1}


@pytest.fixture
def database(store: Store, url: str) -> Database:
    return Database(url)


def test_values_convert_both_ways(database: Database) -> None:
    with database.write() as work:
        work.insert(tracked_runs, {"id": "r1", **ROW})
        many = [point("a", 1.5), point("b", math.nan), point("c", math.inf)]
        assert POINTS.run(work.connection, many) == 3
        assert POINTS.run(work.connection, [point("a", 9.0)]) == 0
    with database.read() as connection:
        assert ONE.rows(connection, run="r1") == [(NOW, None, Lifecycle.ACTIVE)]
        assert ONE.rows(connection, run="'; DROP TABLE tracked_runs; --") == []
        rows = dict(VALUES.rows(connection, run="r1"))
    assert (rows["a"], rows["c"]) == (1.5, math.inf)
    assert math.isnan(rows["b"])


def test_an_upsert_changes_only_what_it_is_told(database: Database) -> None:
    with database.write() as work:
        work.insert(tracked_runs, {"id": "r1", **ROW})
        work.upsert(latest_metrics, [point("a", 1.0)], ["value"])
        work.upsert(latest_metrics, [{**point("a", 2.0), "step": 7}], ["value"])
        work.upsert(latest_metrics, [], ["value"])
        kept = sa.select(latest_metrics.c.value, latest_metrics.c.step)
        assert [tuple(row) for row in work.execute(kept)] == [(2.0, 0)]


@pytest.mark.parametrize(
    ("run", "kind"), [("gone", VolantError), ("\ud800", InvalidInput), ("r1", Conflict)]
)
def test_the_drivers_errors_are_ours(database: Database, run: str, kind: type[VolantError]) -> None:
    with database.write() as work:
        work.insert(tracked_runs, {"id": "r1", **ROW})
        work.insert(latest_metrics, point("a", 1.0))
    with pytest.raises(kind), database.write() as work:
        work.insert(latest_metrics, point("a", 1.0, run))


def test_a_transaction_takes_it_back(database: Database) -> None:
    def fails() -> None:
        with database.write() as work:
            work.insert(tracked_runs, {"id": "r1", **ROW})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    with database.read() as connection:
        assert ONE.rows(connection, run="r1") == []
        assert connection.execute(sa.select(experiments.c.id)).scalar() == "0"
