"""Metrics: every point, and the latest of each history kept beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from volant.domain.tracking import Metric
from volant.store.engine import Write
from volant.store.rows import several
from volant.store.tracking_tables import latest_metrics, metrics

POINT = [metrics.c[name] for name in Metric.__dataclass_fields__]
_CHUNK = 500  # rows of one statement, within both databases' limits on parameters


def insert_points(work: Write, run_id: str, points: Sequence[Metric]) -> None:
    """Store points and move the latest ones on; a point that is there already is the
    same call made again."""
    if not points:
        return
    insert = insert_of(work)
    rows = [_row(metrics, run_id, point) for point in points]
    for chunk in _chunks(rows):
        work.execute(insert(metrics).on_conflict_do_nothing(), chunk)
    newest = [_row(latest_metrics, run_id, point) for point in _latest(points)]
    statement = insert(latest_metrics)
    new, old = statement.excluded, latest_metrics.c
    later = sa.or_(
        new.step > old.step,
        sa.and_(
            new.step == old.step,
            sa.or_(
                new.timestamp > old.timestamp,
                # NaN is NULL and has no order; any number beats it
                sa.and_(
                    new.timestamp == old.timestamp,
                    sa.or_(old.value.is_(None), new.value >= old.value),
                ),
            ),
        ),
    )
    statement = statement.on_conflict_do_update(
        index_elements=[old.run_id, old.key],
        set_={name: getattr(new, name) for name in ("value", "step", "timestamp")},
        where=later,
    )
    for chunk in _chunks(newest):
        work.execute(statement, chunk)


def history(
    connection: sa.Connection,
    run_id: str,
    key: str,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> list[Metric]:
    """Points of one metric by step, time and the order of their coming."""
    c = metrics.c
    statement = (
        sa.select(*POINT)
        .where(c.run_id == run_id, c.key == key)
        .order_by(c.step, c.timestamp, c.seq)
        .limit(limit)
        .offset(offset or None)
    )
    return several(connection, Metric, statement)


def of_models(connection: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[Metric, ...]]:
    """The points that were logged for logged models, by model."""
    found: dict[str, list[Metric]] = {}
    for some in _chunks(list(ids)):
        statement = sa.select(*POINT).where(metrics.c.model_id.in_(some)).order_by(metrics.c.seq)
        for point in several(connection, Metric, statement):
            found.setdefault(str(point.model_id), []).append(point)
    return {model: tuple(points) for model, points in found.items()}


def insert_of(work: Write) -> Any:
    """The dialect's `insert`, which knows ON CONFLICT."""
    if work.connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert


def _row(table: sa.Table, run_id: str, point: Metric) -> dict[str, Any]:
    return {
        "run_id": run_id,
        **{name: getattr(point, name) for name in Metric.__dataclass_fields__ if name in table.c},
    }


def _chunks(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK))


def _latest(points: Sequence[Metric]) -> list[Metric]:
    def rank(point: Metric) -> tuple[int, int, bool, float]:
        is_nan = math.isnan(point.value)
        return point.step, point.timestamp, not is_nan, 0.0 if is_nan else point.value

    latest: dict[str, Metric] = {}
    for point in points:
        if point.key not in latest or rank(point) >= rank(latest[point.key]):
            latest[point.key] = point
    return list(latest.values())
