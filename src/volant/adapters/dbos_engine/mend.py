"""Workflows that lost their thread in a living process, put back on their queues.

DBOS gives a workflow up when its database won't take what became of it, as on a full
disk: the row stays pending and nothing works on it until a restart. Here such rows are
looked for, and enqueued again as after a crash. That is a write too, so it succeeds when
the database takes writes again, and not before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from volant.adapters.dbos_engine.database import Tables

log = logging.getLogger(__name__)

LOOKS = 2  # a workflow is between two threads for a moment when it is taken from its queue


class Mender:
    """Looks every `look_s` for pending workflows of this worker that nobody works on.

    Args:
        tables: DBOS' rows.
        executor_id: This worker's name.
        active: The workflows that have a thread in this process.
        enqueue: Puts one back on its queue.
        wake: Called when some were.
        closing: Set when the engine closes.
    """

    def __init__(
        self,
        tables: Tables,
        *,
        executor_id: str,
        active: Callable[[], Collection[str]],
        enqueue: Callable[[str], object],
        wake: Callable[[], None],
        closing: threading.Event,
        look_s: float,
    ) -> None:
        self._tables = tables
        self._executor_id = executor_id
        self._active = active
        self._enqueue = enqueue
        self._wake = wake
        self._closing = closing
        self._look_s = look_s
        self._seen: dict[str, int] = {}

    def run(self) -> None:
        """Until the engine closes."""
        while not self._closing.wait(self._look_s):
            try:
                self.look()
            except SQLAlchemyError:
                continue  # the database still takes nothing

    def look(self) -> None:
        """One look. Raises SQLAlchemy's errors."""
        active = set(self._active())
        lone = [name for name in self._pending() if name not in active]
        self._seen = {name: self._seen.get(name, 0) + 1 for name in lone}
        stranded = [name for name, looks in self._seen.items() if looks >= LOOKS]
        for name in stranded:
            self._enqueue(name)
            del self._seen[name]
            log.warning("%s was given up by the engine's library; it is done again", name)
        if stranded:
            self._wake()

    def _pending(self) -> Sequence[str]:
        table = self._tables.status.c
        query = sa.select(table.workflow_uuid).where(
            table.status == "PENDING", table.executor_id == self._executor_id
        )
        with self._tables.engine.connect() as connection:
            return [str(name) for name in connection.execute(query).scalars()]
