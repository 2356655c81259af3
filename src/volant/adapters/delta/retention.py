"""Tables that forget: the newest rows of one, and the oldest files out of it.

Only whole files leave a table, so nothing is ever rewritten. A file stays on the disk
until the next time, for those who began to read it before.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, RemoveAction

_GRACE_S = 60.0  # a file this young may belong to an append that isn't committed yet
_DOWN_TO = 0.9  # of the bound, so that not every append has to forget something


def newest(
    dataset: pads.FileSystemDataset, limit: int, since: datetime | None, column: str
) -> pa.Table:
    """The last `limit` rows of a dataset whose files are in order, oldest first; with
    `since`, only those whose `column` is at or after it."""
    wanted: Any = None if since is None else pc.field(column) >= pa.scalar(since)
    found: list[pa.Table] = []
    rows = 0
    for fragment in reversed(list(dataset.get_fragments())):
        part = fragment.to_table(schema=dataset.schema, filter=wanted)
        part = part.slice(max(0, part.num_rows - (limit - rows)))
        found.append(part)
        rows += part.num_rows
        if rows >= limit or (since is not None and not part.num_rows):
            break
    found.reverse()
    return pa.concat_tables(found) if found else dataset.schema.empty_table()


def trim(opened: DeltaTable, path: Path, max_bytes: int) -> int:
    """Take the oldest files out until the others have at most `max_bytes` bytes together;
    returns how many rows went. The newest file stays in any case."""
    sweep(opened, path)
    actions = pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    actions.sort(key=lambda one: (one["modification_time"], one["path"]))
    total = sum(one["size_bytes"] for one in actions)
    if total <= max_bytes:
        return 0
    leaving: list[AddAction | RemoveAction] = []
    rows = 0
    for one in actions[:-1]:
        if total <= max_bytes * _DOWN_TO:
            break
        total -= one["size_bytes"]
        rows += one["num_records"] or 0
        leaving.append(
            RemoveAction(
                path=one["path"],
                data_change=True,
                deletion_timestamp=int(time.time() * 1000),
                size=one["size_bytes"],
            )
        )
    if leaving:
        opened.create_write_transaction(
            leaving,
            "append",
            opened.schema(),
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    return rows


def sweep(opened: DeltaTable, path: Path) -> None:
    """Delete files that no longer belong to the table, and the log's oldest entries."""
    named = set(pa.table(opened.get_add_actions(flatten=True)).column("path").to_pylist())
    young = time.time() - _GRACE_S
    for file in path.glob("part-*.parquet"):
        if file.name not in named and file.stat().st_mtime < young:
            file.unlink(missing_ok=True)
    if opened.version() % 200 == 199:
        opened.create_checkpoint()
        opened.cleanup_metadata()
