"""Segments of the prediction log into the deployment's dataset, in a step process.

A compaction notes which segments it takes and under which key, appends their rows under
that key, and is finished by the control plane, which stores the dataset's new version
and then has the segments deleted. Whoever dies in between, the next one finds the note
and does the same again, and the key keeps the rows from coming twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from volant.errors import NotFound
from volant.faults import crash_point
from volant.ports.tables import Tables
from volant.serving import log_folder
from volant.serving.log_format import read_segment
from volant.serving.log_rows import rows_of

_AT_ONCE = 48 << 20  # bytes of segments


def compact(inputs: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """Append what waits to the dataset, and forget its oldest rows beyond the bound.

    Inputs: folder, dataset, key (for a compaction that begins now), max_bytes. Outputs:
    key (None when nothing waited), table_version, rows, rows_total, segments, unreadable,
    more (whether something still waits).
    """
    folder, dataset = Path(str(inputs["folder"])), str(inputs["dataset"])
    note = log_folder.begun(folder)
    if note is None:
        log_folder.take_over(folder)
        chosen = _chosen(folder)
        if not chosen:
            return {"key": None, "rows": 0, "more": False}
        note = log_folder.begin(folder, str(inputs["key"]), chosen)
        crash_point("predictions.begun")
    key = str(note["key"])
    rows, unreadable = _rows(folder, note["segments"])
    version = tables.version_of(dataset, key)
    if version is None and rows is not None:
        version = tables.append(dataset, _fitted(rows, tables, dataset), key=key)
    crash_point("predictions.appended")
    if version is not None:
        tables.trim(dataset, int(inputs["max_bytes"]))
    return {
        "key": key,
        "table_version": version,
        "rows": 0 if rows is None else rows.num_rows,
        "rows_total": tables.read(dataset, columns=()).num_rows if version is not None else 0,
        "segments": len(note["segments"]),
        "unreadable": unreadable,
        "more": len(log_folder.sealed(folder)) > len(note["segments"]),
    }


def _chosen(folder: Path) -> list[Path]:
    chosen: list[Path] = []
    total = 0
    for path in log_folder.sealed(folder):
        size = path.stat().st_size
        if chosen and total + size > _AT_ONCE:
            break
        chosen.append(path)
        total += size
    return chosen


def _rows(folder: Path, names: list[str]) -> tuple[pa.Table | None, int]:
    """The segments' rows, and how many segments can't be read: those are set aside."""
    tables: list[pa.Table] = []
    unreadable = 0
    for name in names:
        path = folder / name
        try:
            found = _table(path)
        except FileNotFoundError:  # deleted for room, or by a compaction that died after
            continue
        except Exception:  # a damaged disk; the others shall not wait for it
            unreadable += 1
            path.rename(path.with_suffix(log_folder.BAD))
            continue
        if found.num_rows:
            tables.append(found)
    if not tables:
        return None, unreadable
    return pa.concat_tables(_alike(tables), promote_options="default"), unreadable


def _table(path: Path) -> pa.Table:
    meta, batches = read_segment(path.read_bytes())
    return rows_of(path.stem, meta, batches)


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Versions may differ in a column's type: the first one's type keeps the name."""
    schema = pa.schema([])
    found: list[pa.Table] = []
    for table in tables:
        fitted = renamed(table, schema)
        found.append(fitted)
        for field in fitted.schema:
            if field.name not in schema.names:
                schema = schema.append(field)
    return found


def renamed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """`rows` whose columns fit `schema`; one of another type gets the type in its name."""
    columns: dict[str, Any] = {}
    for name in rows.column_names:
        column = rows.column(name)
        known = schema.field(name).type if name in schema.names else None
        if known is not None and known != column.type:
            if pa.types.is_floating(known) and pa.types.is_integer(column.type):
                column = column.cast(known)
            else:
                name = f"{name}_{_word(column.type)}"  # noqa: PLW2901
        columns[name] = column
    return pa.table(columns)


def _word(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "flag"
    return "list" if pa.types.is_list(kind) else "number"


def _fitted(rows: pa.Table, tables: Tables, dataset: str) -> pa.Table:
    if not tables.exists(dataset):
        return rows
    return renamed(rows, tables.read(dataset, limit=0).schema)


def read_predictions(inputs: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """The last rows, those that wait for their compaction among them.

    Inputs: folder, dataset, limit, since (ISO 8601 or None). Outputs: columns; rows, each
    a list in column order, the oldest first.
    """
    folder, dataset = Path(str(inputs["folder"])), str(inputs["dataset"])
    limit = int(inputs["limit"])
    since = None if inputs.get("since") is None else _time(str(inputs["since"]))
    stored, fresh = pa.table({}), list[pa.Table]()
    for _ in range(3):  # a compaction may move rows from the one place to the other
        before = _rows_in(tables, dataset)
        stored = _stored(tables, dataset, limit, since)
        fresh = _fresh(folder, tables, dataset)
        if _rows_in(tables, dataset) == before:
            break
    found = [table for table in (stored, *fresh) if table.num_rows]
    if not found:
        return {"columns": [], "rows": []}
    rows = pa.concat_tables(_alike(found), promote_options="default").sort_by("time")
    if since is not None:
        late = [moment >= since for moment in rows.column("time").to_pylist()]
        rows = rows.filter(pa.array(late, pa.bool_()))
    rows = rows.slice(max(0, rows.num_rows - limit))
    names = [name for name in rows.column_names if rows.column(name).null_count < rows.num_rows]
    return {"columns": names, "rows": [[_plain(row[n]) for n in names] for row in rows.to_pylist()]}


def _rows_in(tables: Tables, dataset: str) -> int:
    return tables.read(dataset, columns=()).num_rows if tables.exists(dataset) else -1


def _stored(tables: Tables, dataset: str, limit: int, since: datetime | None) -> pa.Table:
    try:
        return tables.newest(dataset, limit, since=since)
    except NotFound:
        return pa.table({})


def _fresh(folder: Path, tables: Tables, dataset: str) -> list[pa.Table]:
    """What lies in segments and not yet in the table."""
    note = log_folder.begun(folder)
    done: set[str] = set()
    if note is not None and tables.version_of(dataset, str(note["key"])) is not None:
        done = set(note["segments"])
    found: list[pa.Table] = []
    for path in sorted((*log_folder.sealed(folder), *log_folder.live(folder))):
        if path.name in done:
            continue
        try:
            found.append(_table(path))
        except (OSError, ValueError):
            continue  # gone meanwhile, or broken, which the compaction tells
    return found


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return None
    return value
