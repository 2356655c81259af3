"""Outputs that a step may take over."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from volant.ports.step_cache import CachedStep
from volant.store.engine import Database
from volant.store.rows import one, record, values
from volant.store.step_cache_tables import step_cache

USED_AGAIN = timedelta(hours=1)  # a hit writes nothing while the last use is younger


class SqlStepCache:
    """`StepCache` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, now: datetime) -> CachedStep | None:
        statement = sa.select(*step_cache.c).where(step_cache.c.key == key)
        with self._database.read() as connection:
            row = one(connection, statement)
        if row is None:
            return None
        found = record(CachedStep, row)
        if now - found.last_used_at > USED_AGAIN:
            used = sa.update(step_cache).where(step_cache.c.key == key).values(last_used_at=now)
            with self._database.write() as work:
                work.execute(used)
        return found

    def put(self, step: CachedStep) -> bool:
        with self._database.write() as work:
            return work.insert_new(step_cache, values(step_cache, step))

    def drop(self, key: str, run_id: str | None = None) -> bool:
        statement = sa.delete(step_cache).where(step_cache.c.key == key)
        if run_id is not None:
            statement = statement.where(step_cache.c.run_id == run_id)
        with self._database.write() as work:
            return work.changed(statement)

    def prune(self, unused_since: datetime, keep: int) -> int:
        newest = sa.select(step_cache.c.key).order_by(step_cache.c.last_used_at.desc())
        old = step_cache.c.last_used_at < unused_since
        beyond = step_cache.c.key.not_in(newest.limit(keep))
        with self._database.write() as work:
            return work.execute(sa.delete(step_cache).where(sa.or_(old, beyond))).rowcount
