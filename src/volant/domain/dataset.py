"""Dataset, its versions, and the pushes that make them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from volant.domain.contract import Contract


class PushStatus(StrEnum):
    RECEIVED = "received"
    COMMITTED = "committed"
    REJECTED = "rejected"


PUSH_TRANSITIONS: dict[PushStatus, frozenset[PushStatus]] = {
    PushStatus.RECEIVED: frozenset({PushStatus.COMMITTED, PushStatus.REJECTED}),
    PushStatus.COMMITTED: frozenset(),
    PushStatus.REJECTED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named, versioned table. `contract` is None until declared or inferred."""

    name: str
    contract: Contract | None
    created_at: datetime
    latest_version: int | None = None
    rows: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One commit of a dataset. `table_version` is the Delta table's own number."""

    dataset: str
    version: int
    table_version: int
    rows_added: int
    rows_total: int
    rows_quarantined: int
    push_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Push:
    """One delivery of data: staged files, then a version or a rejection."""

    id: str
    dataset: str
    source: str
    files: tuple[str, ...]
    status: PushStatus
    created_at: datetime
    run_id: str | None = None
    version: int | None = None
    rows_added: int = 0
    rows_quarantined: int = 0
    reason: str | None = None


def run_id_of(push_id: str) -> str:
    """The run that works a push off: one for each push, whoever starts it."""
    return f"run-{push_id}"
