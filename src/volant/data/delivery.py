"""All files of a push as one table, each row knowing where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from volant.data.contract import Checked, align
from volant.data.filerows import FileRows, Indexes
from volant.data.infer import infer_contract
from volant.data.jsonl_file import concat
from volant.data.options import file_options
from volant.data.read import read_file
from volant.domain.contract import Contract

QUARANTINE = pa.schema(
    [
        ("id", pa.string()),
        ("push_id", pa.string()),
        ("row_number", pa.int64()),
        ("source", pa.string()),
        ("raw", pa.string()),
        ("reasons", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Delivery:
    """`table` has the contract's columns, the rows of `files` one after another."""

    files: tuple[FileRows, ...]
    table: pa.Table
    contract: Contract
    inferred: bool
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int:
        """All rows that came, the broken ones included."""
        return self.table.num_rows + sum(len(file.broken) for file in self.files)


def read_delivery(
    files: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None, contract: Contract | None
) -> Delivery:
    """Read `files` ({path, name}) and line their columns up.

    Without a contract one is inferred from all rows together. Raises `InvalidInput`
    when a file can't be read or its columns aren't the contract's.
    """
    chosen = file_options(options)
    read = tuple(read_file(Path(str(f["path"])), str(f["name"]), chosen) for f in files)
    warnings = [warning for file in read for warning in file.warnings]
    inferred = contract is None
    if contract is None:
        contract = infer_contract(concat([file.table for file in read]))
        if missing := _partial(read):
            contract = _nullable(contract, missing)
    aligned: list[pa.Table] = []
    for file in read:
        table, more = align(file.table, contract, file.name)
        aligned.append(table)
        warnings += more
    return Delivery(read, concat(aligned), contract, inferred, tuple(warnings))


def _partial(files: Sequence[FileRows]) -> set[str]:
    """Columns that some file of a first push lacks as a whole: they may be missing."""
    names = {name for file in files for name in file.table.column_names}
    return {name for name in names if any(name not in f.table.column_names for f in files)}


def _nullable(contract: Contract, names: set[str]) -> Contract:
    rules = (replace(r, nullable=True) if r.name in names else r for r in contract.columns)
    return replace(contract, columns=tuple(rules))


def quarantine_rows(delivery: Delivery, checked: Checked, push_id: str) -> pa.Table:
    """What goes to quarantine, in the order it came; ids follow from push, file and line."""
    columns: dict[str, list[Any]] = {name: [] for name in QUARANTINE.names}
    start = 0
    for number, file in enumerate(delivery.files):
        stop = start + file.table.num_rows
        bad = np.array([i for i in checked.reasons if start <= i < stop], dtype=np.int64)
        for line, raw, reasons in sorted(_bad_rows(file, bad, start, checked)):
            columns["id"].append(f"{push_id}.{number}.{line}")
            columns["push_id"].append(push_id)
            columns["row_number"].append(line)
            columns["source"].append(file.name)
            columns["raw"].append(raw)
            columns["reasons"].append(reasons)
        start = stop
    return pa.table(columns, schema=QUARANTINE)


def _bad_rows(
    file: FileRows, bad: Indexes, start: int, checked: Checked
) -> list[tuple[int, str, list[str]]]:
    rows = [(one.line, one.raw, [one.reason]) for one in file.broken]
    if len(bad):
        inside = bad - start
        reasons = [list(checked.reasons[index]) for index in bad.tolist()]
        rows += zip(file.lines(inside), file.raws(inside), reasons, strict=True)
    return rows
