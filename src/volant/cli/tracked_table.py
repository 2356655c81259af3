"""Tracked runs as a table with one column for each param, metric and tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from volant.cli.saved import saved

_FACTS = ("id", "name", "status", "started_at", "ended_at", "user", "artifact_uri")
_TIMES = frozenset({"started_at", "ended_at"})
_PARTS = ("metrics", "params", "tags")

Run = Mapping[str, Any]


def columns_of(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """`run_id`, what else a run is, then `metrics.KEY` (numbers, NaN for a value that isn't
    one), `params.KEY` and `tags.KEY` (texts); None where a run hasn't the key."""
    found: dict[str, list[Any]] = {}
    for fact in _FACTS:
        name = "run_id" if fact == "id" else fact
        found[name] = [_time(run[fact]) if fact in _TIMES else run[fact] for run in runs]
    for part in _PARTS:
        keys = sorted({key for run in runs for key in run[part]})
        for key in keys:
            found[f"{part}.{key}"] = [_value(run[part], part, key) for run in runs]
    return found


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _value(values: Mapping[str, Any], part: str, key: str) -> Any:
    if key not in values:
        return None
    value = values[key]
    # JSON has no NaN: a measured metric without a number was one.
    return float("nan" if value is None else value) if part == "metrics" else value


def write_parquet(runs: Sequence[Run], target: Path) -> int:
    """Write the table; the file appears whole or not at all. Returns its columns.

    Raises what `saved` does when the file can't be written there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = columns_of(runs)
    table = pa.table({name: pa.array(column, _type(pa, name)) for name, column in columns.items()})
    with saved(target) as partial, partial.open("wb") as file:
        pq.write_table(table, file)
    return len(columns)


def _type(pa: Any, name: str) -> Any:
    if name in _TIMES:
        return pa.timestamp("us", tz="UTC")
    return pa.float64() if name.startswith("metrics.") else pa.string()
