"""Threads of one process take turns at writing to a SQLite file.

SQLite's own waiting for the write lock sleeps, up to 100 ms, and is unfair: ten steps that
end at once would wait for each other's sleeps. Here they queue for a lock before the
statement that would take SQLite's; only other processes meet the busy handler.
"""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

_WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE")
_HELD = "volant_turn"


def take_turns(engine: sa.Engine, wait_s: float) -> None:
    """Make writing transactions of `engine` wait for each other, `wait_s` at most; then
    SQLite itself decides, and says so. A turn ends when the connection is given back:
    SQLAlchemy's events tell of a commit before it is done."""
    turn = threading.Lock()

    def before(connection: sa.Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        held = connection.info
        if _HELD not in held and statement.lstrip()[:16].upper().startswith(_WRITES):
            held[_HELD] = turn.acquire(timeout=wait_s)

    def given_back(_connection: Any, record: ConnectionPoolEntry) -> None:
        if record.info.pop(_HELD, False):
            turn.release()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "checkin", given_back)
