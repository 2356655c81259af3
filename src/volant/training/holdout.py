"""The frozen holdout: rows chosen once for a loop, on which all its models are measured.

`holdout.parquet` is written once, and carries its own facts in its metadata;
`holdout.json` repeats them with the file's SHA-256. A process that dies between the
two leaves a parquet file from which the next one writes the same JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volant.errors import Conflict
from volant.training.files import sha256_of, write_once
from volant.training.rowhash import Hashes

_METADATA_KEY = b"volant.holdout"
_AGAIN = (
    "Restore it from a backup, or delete the folder {folder} to freeze a new holdout at the next "
    "run (the champion is then compared on the new one)."
)


@dataclass(frozen=True, slots=True)
class HoldoutFacts:
    """How the rows were chosen. `rows` counts them."""

    dataset: str
    table_version: int
    target: str
    task: str
    fraction: float
    seed: int
    rows: int


@dataclass(frozen=True, slots=True)
class Holdout:
    path: Path
    sha256: str
    facts: HoldoutFacts

    def table(self) -> pa.Table:
        return pq.read_table(self.path)


def find_holdout(folder: Path) -> Holdout | None:
    """The holdout frozen in `folder`, or None before the first run.

    Raises `Conflict` when the file is gone or isn't the one that was frozen.
    """
    path, record = folder / "holdout.parquet", folder / "holdout.json"
    if not path.exists():
        if record.exists():
            raise _altered(f"The frozen holdout {path} is gone.", folder)
        return None
    found = sha256_of(path)
    if not record.exists():
        _write_record(record, found, _facts_inside(path, folder))
    try:
        body: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        sha256 = str(body.pop("sha256"))
        facts = HoldoutFacts(**body)
    except (ValueError, KeyError, TypeError) as error:
        raise _altered(f"The holdout's record {record} can't be read: {error}.", folder) from error
    if sha256 != found:
        raise _altered(
            f"The frozen holdout {path} was altered: its SHA-256 is {found[:12]}…, "
            f"not {sha256[:12]}….",
            folder,
        )
    return Holdout(path, sha256, facts)


def freeze(folder: Path, rows: pa.Table, facts: HoldoutFacts) -> Holdout:
    """Write the holdout if there is none yet; returns the one that is there."""
    metadata: dict[bytes | str, bytes | str] = {**(rows.schema.metadata or {})}
    metadata[_METADATA_KEY] = json.dumps(asdict(facts)).encode()
    marked = rows.replace_schema_metadata(metadata)
    write_once(folder / "holdout.parquet", lambda draft: pq.write_table(marked, draft))
    found = find_holdout(folder)
    if found is None:
        raise _altered(f"The holdout in {folder} vanished while it was frozen.", folder)
    return found


def choose(
    hashes: Hashes, labels: NDArray[Any] | None, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Which rows [n] are held out, so that none has a twin in training.

    Rows with equal features are one group and stay together. Groups are drawn in
    random order, class by class when `labels` are given (a group's class is its first
    row's), until their rows reach the fraction; each class keeps a group for training,
    so a class with a single group is in training only.
    """
    unique, first, group, size = np.unique(
        hashes, return_index=True, return_inverse=True, return_counts=True
    )
    rng = np.random.default_rng(seed)
    held = np.zeros(len(unique), dtype=bool)
    strata = np.zeros(len(unique), dtype=np.int64)
    if labels is not None:
        strata = np.unique(labels[first], return_inverse=True)[1]
    # By first appearance, not by hash value: the choice then reads the table's order only.
    by_appearance = np.argsort(first, kind="stable")
    for stratum in range(int(strata.max(initial=-1)) + 1):
        members = by_appearance[strata[by_appearance] == stratum]
        drawn = rng.permutation(members)[: len(members) - 1]
        before = np.cumsum(size[drawn]) - size[drawn]
        wanted = fraction * size[members].sum()
        # A group is taken while more than half of it is still wanted.
        held[drawn[before + size[drawn] / 2 <= wanted]] = True
    return held[group]


def _facts_inside(path: Path, folder: Path) -> HoldoutFacts:
    metadata: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
    try:
        return HoldoutFacts(**json.loads(metadata[_METADATA_KEY]))
    except (KeyError, ValueError, TypeError) as error:
        raise _altered(f"{path} isn't a holdout that Volant froze.", folder) from error


def _write_record(record: Path, sha256: str, facts: HoldoutFacts) -> None:
    text = json.dumps({"sha256": sha256, **asdict(facts)}, indent=1)
    write_once(record, lambda draft: draft.write_text(text, encoding="utf-8"))


def _altered(what: str, folder: Path) -> Conflict:
    return Conflict(what, _AGAIN.format(folder=folder), code="holdout_altered")
