"""What ingest and release have in common: their outputs, and what a table holds already."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from volant.domain.contract import Contract
from volant.ports.tables import Tables

TOP_REASONS = 20  # reasons told of


def rejected(reason: str) -> dict[str, Any]:
    """The outputs of a push that adds nothing."""
    return {
        "status": "rejected",
        "table_version": None,
        "rows_added": 0,
        "rows_total": 0,
        "rows_quarantined": 0,
        "contract": None,
        "reasons": {},
        "reason": reason,
        "warnings": [],
    }


def rows_at(tables: Tables, table: str, version: int) -> int:
    """How many rows a version has; version -1 is before the first."""
    return 0 if version < 0 else tables.read(table, version=version, columns=()).num_rows


def existing_values(
    tables: Tables, dataset: str, contract: Contract, push_id: str
) -> dict[str, pa.ChunkedArray]:
    """What unique columns hold, without what this push itself added before a crash."""
    names = [rule.name for rule in contract.columns if rule.unique]
    if not names or not tables.exists(dataset):
        return {}
    mine = tables.version_of(dataset, push_id)
    if mine == 0:
        return {}
    version = None if mine is None else mine - 1
    have = tables.read(dataset, version=version, limit=0).column_names
    names = [name for name in names if name in have]
    stored = tables.read(dataset, version=version, columns=names)
    return {name: stored.column(name) for name in names}
