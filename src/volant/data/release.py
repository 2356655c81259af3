"""Quarantined rows back into their dataset, each at most once.

A release first claims its rows by id in `<dataset>.released`, keyed by its push, and
then appends those that no earlier version of that table claims. So two releases of
one row append it once, and one that died in between goes on with what it claimed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from volant.data.contract import check
from volant.data.jsonl_file import text_of
from volant.data.outcome import TOP_REASONS, existing_values, rejected, rows_at
from volant.data.rows import choose, quarantined
from volant.domain.codec import from_plain
from volant.domain.contract import Contract
from volant.errors import InvalidInput
from volant.faults import crash_point
from volant.ports.tables import Tables

_UNREADABLE = "the row can't be split into the columns"


@dataclass(frozen=True)
class _Judged:
    ids: list[str]
    good: pa.Table
    counts: Counter[str]


def release(inputs: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """Check quarantined rows against the contract as it is now; append those that pass.

    Inputs: push_id (of the release itself), dataset, contract, options {push: only of
    this push, rows: only these ids, force: append all whose values fit their types}.
    Outputs: as ingest's; `rows_quarantined` is 0, as no row is new in quarantine, and
    `reasons` tells why rows stay there.
    """
    push_id, dataset = str(inputs["push_id"]), str(inputs["dataset"])
    if inputs.get("contract") is None:
        return rejected(f"Dataset {dataset!r} has no contract yet. Push data that it can have.")
    contract = from_plain(Contract, inputs["contract"])
    options: Mapping[str, Any] = inputs.get("options") or {}
    claims = f"{dataset}.released"
    try:
        claimed = tables.version_of(claims, push_id)
        counts: Counter[str] = Counter()
        if claimed is None:
            judged = _candidates(tables, dataset, contract, push_id, options)
            counts = judged.counts
            if not judged.ids:
                return _nothing(dataset, counts)
            claim = pa.table({"id": judged.ids, "push_id": [push_id] * len(judged.ids)})
            claimed = tables.append(claims, claim, key=push_id)
        mine = _won(tables, claims, claimed, push_id)
        rows = choose(tables.read(f"{dataset}.quarantine"), mine)
        judged = _judge(rows, contract, {}, types_only=True)
        if not judged.ids:
            return _nothing(dataset, judged.counts)
        version = tables.append(dataset, judged.good, key=push_id)
    except InvalidInput as error:
        return rejected(f"{error.what} {error.fix}")
    crash_point("ingest.appended")
    return {
        **rejected(""),
        "status": "committed",
        "table_version": version,
        "rows_added": len(judged.ids),
        "rows_total": rows_at(tables, dataset, version),
        "reasons": dict(counts.most_common(TOP_REASONS)),
        "reason": None,
    }


def _candidates(
    tables: Tables,
    dataset: str,
    contract: Contract,
    push_id: str,
    options: Mapping[str, Any],
) -> _Judged:
    rows = quarantined(tables, dataset, options.get("push"), options.get("rows"))
    force = bool(options.get("force"))
    existing = {} if force else existing_values(tables, dataset, contract, push_id)
    return _judge(rows, contract, existing, types_only=force)


def _judge(
    rows: pa.Table,
    contract: Contract,
    existing: Mapping[str, pa.ChunkedArray],
    *,
    types_only: bool,
) -> _Judged:
    counts: Counter[str] = Counter()
    ids: list[str] = []
    objects: list[dict[str, Any]] = []
    known = {rule.name for rule in contract.columns}
    for row in rows.to_pylist():
        found = _object(row["raw"])
        if found is None:
            counts[_UNREADABLE] += 1
        elif unknown := [name for name in found if name not in known]:
            counts[f"the contract doesn't know the column {unknown[0]!r}"] += 1
        else:
            ids.append(row["id"])
            objects.append(found)
    columns = {
        name: pa.chunked_array([pa.array([text_of(one.get(name)) for one in objects], pa.string())])
        for name in (rule.name for rule in contract.columns)
    }
    checked = check(pa.table(columns), contract, existing, types_only=types_only)
    kept = np.array(ids, dtype=object)[checked.good_rows].tolist()
    return _Judged(kept, checked.good, counts + checked.counts)


def _object(raw: str) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    return {str(name).strip(): item for name, item in value.items()}


def _won(tables: Tables, claims: str, version: int, push_id: str) -> list[str]:
    """Our claims, without the rows that an earlier version claims."""
    now = tables.read(claims, version=version).to_pylist()
    earlier: set[str] = set()
    if version > 0:
        before = tables.read(claims, version=version - 1, columns=["id"])
        earlier = set(before.column("id").to_pylist())
    return [c["id"] for c in now if c["push_id"] == push_id and c["id"] not in earlier]


def _nothing(dataset: str, counts: Counter[str]) -> dict[str, Any]:
    if not counts:
        return rejected(
            f"No row of {dataset!r} waits in quarantine for this release: there is none, or all"
            " were released before. See them with: volant data quarantine."
        )
    worst, times = counts.most_common(1)[0]
    rows = f"{times} times" if times > 1 else "once"
    return rejected(
        f"No row could be released; most often: {worst} ({rows})."
        " Change the contract first, or force the rows whose values fit their types."
    ) | {"reasons": dict(counts.most_common(TOP_REASONS))}
