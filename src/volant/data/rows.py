"""Rows of datasets and of their quarantine, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from volant.data.arrow import pc
from volant.data.filerows import json_value
from volant.ports.tables import Tables


def read_rows(inputs: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """The first `limit` rows of `dataset` at `table_version` (None: the newest).

    Outputs: columns; rows, each a list in column order, NaN as null and times as ISO
    8601; version, the table's own number as it was asked for.
    """
    version = inputs.get("table_version")
    table = tables.read(
        str(inputs["dataset"]),
        version=None if version is None else int(version),
        limit=int(inputs.get("limit") or 20),
    )
    names = table.column_names
    rows = [[json_value(row[name]) for name in names] for row in table.to_pylist()]
    return {"columns": names, "rows": rows, "version": version}


def read_quarantine(inputs: Mapping[str, Any], tables: Tables) -> list[dict[str, Any]]:
    """Up to `limit` quarantined rows of `dataset` (of one push if `push_id` is given)
    that nobody has released: {id, push_id, row_number, source, raw, reasons}, oldest first."""
    push_id = inputs.get("push_id")
    waiting = quarantined(tables, str(inputs["dataset"]), None if push_id is None else str(push_id))
    return waiting.slice(0, int(inputs.get("limit") or 50)).to_pylist()


def quarantined(
    tables: Tables, dataset: str, push_id: str | None = None, ids: Sequence[str] | None = None
) -> pa.Table:
    """The quarantined rows that nobody has released, all or chosen ones."""
    name = f"{dataset}.quarantine"
    if not tables.exists(name):
        return pa.table({"id": pa.array([], pa.string())})
    table = tables.read(name)
    if push_id is not None:
        table = table.filter(pc.equal(table.column("push_id"), push_id))
    if ids is not None:
        table = choose(table, ids)
    released = f"{dataset}.released"
    if tables.exists(released):
        gone = tables.read(released, columns=["id"]).column("id").combine_chunks()
        table = table.filter(pc.invert(pc.is_in(table.column("id"), value_set=gone)))
    return table


def choose(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """The rows with these ids."""
    wanted = pa.array(list(ids), pa.string())
    return table.filter(pc.is_in(table.column("id"), value_set=wanted))
