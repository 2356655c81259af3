"""Logged batches as a table: one row for each row that was predicted, features by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from volant.serving.log_format import Array, Batch

TIME = pa.timestamp("us", tz="UTC")
FACTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", TIME),
        ("deployment", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("revision", pa.int64()),
        ("row", pa.int64()),
        ("latency_ms", pa.float64()),
        ("caller", pa.string()),
        ("status", pa.int64()),
    ]
)
_ANSWERS = ("prediction", "probabilities")
_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.string(),  # as the client wrote it
}


def input_name(name: str) -> str:
    """The column of a feature: its own name, unless the log has that already."""
    return f"input_{name}" if name in FACTS.names or name in _ANSWERS else name


def rows_of(segment: str, meta: Mapping[str, Any], batches: Iterable[Batch]) -> pa.Table:
    """The rows of one segment, in the order they were answered.

    `request_id` is the client's, or else made of the segment's name and the request's
    place in it; `row` is the place in its request; `time` is that of the answer; a
    request that wasn't answered has no prediction.
    """
    tables: list[pa.Table] = []
    place = 0
    for batch in batches:
        tables.append(_rows(segment, meta, batch, place))
        place += len(batch.rows)
    if not tables:
        return FACTS.empty_table()
    return pa.concat_tables(tables, promote_options="permissive")


def _rows(segment: str, meta: Mapping[str, Any], batch: Batch, place: int) -> pa.Table:
    # A model whose requests can't go together has no rows to speak of: one a request.
    by_row = bool(meta["batchable"])
    counts = np.array(batch.rows if by_row else [1] * len(batch.rows), dtype=np.int64)
    total = int(counts.sum())
    ids = [
        given if given is not None else f"{segment}-{place + number}"
        for number, given in enumerate(batch.ids)
    ]
    requests = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    columns: dict[str, Any] = {
        "request_id": pa.array(ids, pa.string()).take(pa.array(requests)),
        "time": pa.array([round(batch.time * 1e6)] * total, pa.int64()).cast(TIME),
        "deployment": _same(meta["deployment"], total),
        "model": _same(meta["model"], total),
        "version": _same(meta["version"], total),
        "revision": pa.array([int(meta["revision"])] * total, pa.int64()),
        "row": pa.array(np.arange(total) - starts[requests]),
        "latency_ms": pa.array(np.round(np.array(batch.latencies, np.float64), 4)[requests]),
        "caller": pa.array(list(batch.callers), pa.string()).take(pa.array(requests)),
        "status": pa.array([batch.status] * total, pa.int64()),
    }
    if meta["columns"]:
        columns |= _features(meta, batch.feeds)
    else:
        named = zip(meta["inputs"], batch.feeds, strict=False)
        columns |= {input_name(name): _texts(feed, total, by_row) for name, feed in named}
    columns |= _answers(meta, batch.outputs, total, by_row)
    return pa.table(columns)


def _same(value: Any, total: int) -> pa.Array:
    return pa.array([str(value)] * total, pa.string())


def _features(meta: Mapping[str, Any], feeds: tuple[Array, ...]) -> dict[str, Any]:
    """Those columns that the model is fed, in the signature's order."""
    found: dict[int, Any] = {}
    for places, feed in zip(meta["tensors"], feeds, strict=False):
        for position, place in enumerate(places):
            found[place] = _feature(feed[:, position], meta["columns"][place]["type"])
    names = [column["name"] for column in meta["columns"]]
    return {input_name(names[place]): found[place] for place in sorted(found)}


def _feature(values: Array, kind: str) -> pa.Array:
    if values.dtype == object:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    if kind == "number":
        return pa.array(numbers, mask=missing)
    whole = np.where(missing, 0, numbers)
    if kind == "boolean":
        return pa.array(whole != 0, mask=missing)
    return pa.array(whole.astype(np.int64), mask=missing)


def _answers(
    meta: Mapping[str, Any], outputs: tuple[Array, ...], total: int, by_row: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in zip(meta["outputs"], outputs, strict=False):
        if meta["prediction"] is None and values.ndim != 1:
            found[name if name in _ANSWERS else input_free(name)] = _texts(values, total, by_row)
        elif name == "probabilities":
            width = values.shape[1] if values.ndim > 1 else 1
            flat = pa.array(values.reshape(-1).astype(np.float64))
            starts = pa.array(np.arange(total + 1, dtype=np.int32) * width)
            found[name] = pa.ListArray.from_arrays(starts, flat)
        else:
            found[input_free(name)] = _label(values, meta["prediction"], total, by_row)
    return found


def input_free(name: str) -> str:
    """The column of an output: its own name, unless that is one of the log's facts."""
    return f"output_{name}" if name in FACTS.names else name


def _label(values: Array, kind: str | None, total: int, by_row: bool) -> pa.Array:
    if not by_row or len(values) != total:
        return _texts(values, total, by_row)
    if values.dtype == object:
        return pa.array([None if v is None else str(v) for v in values.tolist()], pa.string())
    wanted = _TYPES.get(kind or "")
    made = pa.array(values)
    if wanted is None:
        wanted = pa.float64() if pa.types.is_floating(made.type) else made.type
    return made.cast(wanted)


def _texts(values: Array, total: int, by_row: bool) -> pa.Array:
    """Tensors have no columns: each row's part as JSON."""
    parts = values if by_row and len(values) == total else [values]
    texts = [
        orjson.dumps(
            part.tolist() if part.dtype == object else np.ascontiguousarray(part),
            option=orjson.OPT_SERIALIZE_NUMPY,
            default=str,
        ).decode()
        if isinstance(part, np.ndarray)
        else orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY, default=str).decode()
        for part in parts
    ]
    return pa.array(texts, pa.string())
