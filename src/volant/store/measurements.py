"""Metrics: every point, and the latest of each history kept beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from volant.domain.tracking import Metric
from volant.store.engine import Write
from volant.store.prepared import Prepared, insert_for
from volant.store.rows import several
from volant.store.tracking_tables import latest_metrics, metrics

POINT = [metrics.c[name] for name in Metric.__dataclass_fields__]
_CHUNK = 500  # rows of one statement, within both databases' limits on parameters


def insert_points(work: Write, run_id: str, points: Sequence[Metric]) -> None:
    """Store points and move the latest ones on; a point that is there already is the
    same call made again."""
    if not points:
        return
    _POINTS.run(work.connection, (_row(_FIELDS, run_id, point) for point in points))
    _MOVE_ON.run(work.connection, (_row(_LATEST, run_id, point) for point in _latest(points)))


_FIELDS = tuple(Metric.__dataclass_fields__)
_LATEST = tuple(name for name in _FIELDS if name in latest_metrics.c)


def _insert(table: sa.Table, names: Sequence[str], dialect: str) -> Any:
    row = {name: sa.bindparam(name) for name in ("run_id", *names)}
    return insert_for(dialect)(table).values(row)


def _move_on(dialect: str) -> Any:
    statement = _insert(latest_metrics, _LATEST, dialect)
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
    return statement.on_conflict_do_update(
        index_elements=[old.run_id, old.key],
        set_={name: getattr(new, name) for name in ("value", "step", "timestamp")},
        where=later,
    )


_POINTS = Prepared(lambda dialect: _insert(metrics, _FIELDS, dialect).on_conflict_do_nothing())
_MOVE_ON = Prepared(_move_on)


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


def _row(names: Sequence[str], run_id: str, point: Metric) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(point, name) for name in names}
    row["run_id"] = run_id
    return row


def _chunks(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK))


def _latest(points: Sequence[Metric]) -> list[Metric]:
    def rank(point: Metric) -> tuple[int, int, bool, float]:
        is_nan = math.isnan(point.value)
        return point.step, point.timestamp, not is_nan, 0.0 if is_nan else point.value

    latest: dict[str, Metric] = {}
    for point in points:
        held = latest.get(point.key)
        if held is None or point.step > held.step or rank(point) >= rank(held):
            latest[point.key] = point
    return list(latest.values())
