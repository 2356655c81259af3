"""Workers that share a database: who is alive, and who takes over from the dead.

DBOS gives a dead worker's workflows to nobody but a worker of the same name. Here every
worker renews a row; peers put the workflows of a worker whose row is old back on their
queues. The update that does so names the dead worker, so that two peers that notice at
once move each workflow once. All times are the database's: clocks needn't agree.

A worker that is only cut off may still be working. Its records are refused once its
workflows belong to another, and steps are idempotent, so the doubt costs time only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy.exc import SQLAlchemyError

from volant.adapters.dbos_engine.database import SCHEMA

_metadata = sa.MetaData()
WORKERS = sa.Table(
    "volant_workers",
    _metadata,
    sa.Column("executor_id", sa.Text, primary_key=True),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
)


class Heartbeat:
    """One worker's row, and its watch over the others.

    Args:
        engine: DBOS' database.
        executor_id: This worker's name; unique among living and dead.
        taken_over: Called after this worker put others' workflows back on the queues.
        every_s: How often the row is renewed.
        dead_after_s: The age of a row from which its worker counts as dead; several
            times `every_s`, and longer than the database may be away.
    """

    def __init__(
        self,
        engine: sa.Engine,
        executor_id: str,
        taken_over: Callable[[], None],
        *,
        every_s: float = 5.0,
        dead_after_s: float = 30.0,
    ) -> None:
        self._engine = engine
        self._executor_id = executor_id
        self._taken_over = taken_over
        self._every_s = every_s
        self._dead_after_ms = int(dead_after_s * 1000)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="volant-heartbeat", daemon=True)
        sqlite = engine.dialect.name == "sqlite"
        columns = map(
            sa.column,
            (
                "workflow_uuid",
                "status",
                "executor_id",
                "queue_name",
                "owner_xid",
                "started_at_epoch_ms",
                "updated_at",
            ),
        )
        self._workflows = sa.table("workflow_status", *columns, schema=None if sqlite else SCHEMA)
        now = (
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
            if sqlite
            else "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
        )
        self._now = sa.literal_column(now, sa.BigInteger)

    def start(self) -> None:
        """Make the table if it isn't there, be seen, and begin to watch."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # Two workers that start at once would both try to make the table.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7215530)"))
            _metadata.create_all(connection, checkfirst=True)
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Be seen now."""
        with self._engine.begin() as connection:
            renewed = connection.execute(
                sa.update(WORKERS)
                .where(WORKERS.c.executor_id == self._executor_id)
                .values(seen_ms=self._now)
            )
            if renewed.rowcount == 0:
                row = {"executor_id": self._executor_id, "seen_ms": self._now}
                connection.execute(sa.insert(WORKERS).values(row))

    def take_over(self) -> Sequence[str]:
        """Put the workflows of dead workers back on their queues; returns their ids."""
        moved: list[str] = []
        with self._engine.connect() as connection:
            dead = self._dead(connection)
        for executor_id in dead:
            moved += self._release(executor_id)
        self._forget(dead)
        return moved

    def leave(self) -> None:
        """Stop, and give what this worker has under way to its peers at once."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._release(self._executor_id)
        self._forget([self._executor_id])

    def _dead(self, connection: sa.Connection) -> Sequence[str]:
        """Owners of pending workflows who weren't seen lately. One that has no row at all
        died before its first beat, or between a peer's `_release` and `_forget`."""
        workflows = self._workflows.c
        alive = sa.select(WORKERS.c.executor_id).where(
            WORKERS.c.seen_ms > self._now - self._dead_after_ms
        )
        query = (
            sa.select(workflows.executor_id)
            .where(workflows.status == "PENDING", workflows.executor_id.not_in(alive))
            .distinct()
        )
        owners = [str(owner) for owner in connection.execute(query).scalars()]
        return [owner for owner in owners if owner != self._executor_id]

    def _release(self, executor_id: str) -> Sequence[str]:
        workflows = self._workflows.c
        update = (
            sa.update(self._workflows)
            .where(workflows.status == "PENDING", workflows.executor_id == executor_id)
            .values(
                status="ENQUEUED",
                owner_xid=None,
                started_at_epoch_ms=None,
                updated_at=self._now,
                queue_name=sa.func.coalesce(workflows.queue_name, INTERNAL_QUEUE_NAME),
            )
            .returning(workflows.workflow_uuid)
        )
        with self._engine.begin() as connection:
            return [str(name) for name in connection.execute(update).scalars()]

    def _forget(self, executors: Sequence[str]) -> None:
        with self._engine.begin() as connection:
            old = WORKERS.c.seen_ms <= self._now - 10 * self._dead_after_ms
            gone = WORKERS.c.executor_id.in_(executors)
            connection.execute(sa.delete(WORKERS).where(sa.or_(gone, old)))

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.beat()
                if self.take_over():
                    self._taken_over()
            except SQLAlchemyError:
                continue  # the database is away; the next beat tries again
