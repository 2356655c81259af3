"""Many runs at once: one that the client made is copied in the server's SQLite file.

A hundred thousand runs through either server would take longer than all that is measured;
what is searched is the same to the last column.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

_BATCH = 5000


def copies(database: Path, tables: Mapping[str, str], run_id: str, runs: int) -> None:
    """Copy the run `runs` times. `tables` names the column with the run's id, by table."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        rows = {
            table: [
                {name: row[name] for name in row.keys() if name != "seq"}  # noqa: SIM118 - a Row
                for row in connection.execute(f"SELECT * FROM {table} WHERE {own} = ?", (run_id,))
            ]
            for table, own in tables.items()
        }
        for start in range(0, runs, _BATCH):
            ids = [(i, uuid.uuid4().hex) for i in range(start, min(start + _BATCH, runs))]
            with connection:
                for table, own in tables.items():
                    _copy(connection, table, own, rows[table], ids)


def _copy(
    connection: sqlite3.Connection,
    table: str,
    own: str,
    rows: list[dict[str, Any]],
    ids: list[tuple[int, str]],
) -> None:
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        values = [tuple({**row, own: new, **_varied(row, i)}.values()) for i, new in ids]
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


def _varied(row: Mapping[str, Any], i: int) -> dict[str, Any]:
    """What differs from run to run."""
    varied = {
        "rmse": (i * 7919 % 10007) / 10007,
        "depth": str(i % 20),
        "rate": str(i % 13),
        "kind": str(i % 7),
    }
    key = row.get("key")
    return {"value": varied[key]} if key in varied else {}
