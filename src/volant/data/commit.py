"""What an ingest's outputs change in the control plane: the push, its version, the event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volant.domain.codec import from_plain
from volant.domain.contract import Contract
from volant.domain.dataset import DatasetVersion, Push, PushStatus
from volant.domain.event import DATASET_COMMITTED, DATASET_REJECTED, Event
from volant.faults import crash_point
from volant.ports.clock import Clock
from volant.ports.records import PushRecords

_SOURCE = "volant/data"


def verdict_of(push: Push) -> dict[str, Any] | None:
    """What became of a push, as its ingest's outputs; None while it is open.

    An ingest that dies once its verdict is stored is done again, and its files may be gone
    by then: what is stored stands, and the rows aren't looked at again.
    """
    if push.status is PushStatus.RECEIVED:
        return None
    return {
        "status": push.status.value,
        "dataset": push.dataset,
        "version": push.version,
        "rows_added": push.rows_added,
        "rows_quarantined": push.rows_quarantined,
        "reason": push.reason,
    }


def commit_push(
    push_id: str, outputs: Mapping[str, Any], pushes: PushRecords, clock: Clock
) -> dict[str, Any]:
    """Store a push's verdict; doing it again changes nothing. `rows_forgotten` is how many
    rows of earlier versions its commit has removed, none when absent.

    The event's id follows from the push's, so it exists once. Its data: dataset,
    table_version, push_id, rows_added, rows_total, rows_quarantined and, for a
    committed push, version; for a rejected one, reason.

    Returns:
        `outputs` with `dataset` and the dataset's `version` (None when rejected).
    """
    push = pushes.get(push_id)
    if (verdict := verdict_of(push)) is not None:
        return {**outputs, **verdict}
    if outputs["status"] == "committed":
        version: int | None = _commit(push, outputs, pushes, clock)
    else:
        version = None
        _reject(push, outputs, pushes, clock)
    crash_point("ingest.committed")
    return {**outputs, "dataset": push.dataset, "version": version}


def _commit(push: Push, outputs: Mapping[str, Any], pushes: PushRecords, clock: Clock) -> int:
    now = clock.now()
    version = DatasetVersion(
        dataset=push.dataset,
        version=0,  # given by the records, in the event too
        table_version=int(outputs["table_version"]),
        rows_added=int(outputs["rows_added"]),
        rows_total=int(outputs["rows_total"]),
        rows_quarantined=int(outputs["rows_quarantined"]),
        push_id=push.id,
        created_at=now,
    )
    inferred = outputs.get("contract")
    event = Event(
        id=_event_id(push),
        type=DATASET_COMMITTED,
        source=_SOURCE,
        subject=f"dataset/{push.dataset}",
        time=now,
        data={
            "dataset": push.dataset,
            "version": version.version,  # overwritten with the number given
            "table_version": version.table_version,
            "push_id": push.id,
            "rows_added": version.rows_added,
            "rows_total": version.rows_total,
            "rows_quarantined": version.rows_quarantined,
        },
    )
    contract = None if inferred is None else from_plain(Contract, inferred)
    forgotten = int(outputs.get("rows_forgotten", 0))
    return pushes.commit(push.id, version, contract, event, forgotten=forgotten).version


def _reject(push: Push, outputs: Mapping[str, Any], pushes: PushRecords, clock: Clock) -> None:
    reason, quarantined = str(outputs["reason"]), int(outputs["rows_quarantined"])
    event = Event(
        id=_event_id(push),
        type=DATASET_REJECTED,
        source=_SOURCE,
        subject=f"dataset/{push.dataset}",
        time=clock.now(),
        data={
            "dataset": push.dataset,
            "push_id": push.id,
            "rows_added": 0,
            "rows_quarantined": quarantined,
            "reason": reason,
        },
    )
    pushes.reject(push.id, reason, quarantined, event)


def _event_id(push: Push) -> str:
    return f"evt-{push.id}"
