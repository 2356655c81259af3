"""Going on with a run: which of its workflows are done again, from which record on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbos import DBOS

from volant.adapters.dbos_engine.board import rows_of
from volant.adapters.dbos_engine.outcome import Outcome
from volant.domain.run import Run, RunStatus


def partition(run: Run) -> str:
    """Runs of one key start one after another; a run without a key has its own."""
    return f"key:{run.queue_key}" if run.queue_key else f"run:{run.id}"


def resume(run: Run, parts: Sequence[str], queue: str) -> None:
    """Enqueue a run that was cancelled or failed, after all of it that isn't to stay as it
    is: elements before their steps, steps before the run. A crash in between leaves steps
    that end by themselves and a run that can be resumed once more."""
    rows = rows_of([*reversed(parts), run.id])
    cancelled = [row.workflow_id for row in rows if row.status == "CANCELLED"]
    if run.id in cancelled:
        stopped = [name for name in cancelled if name != run.id]
        if stopped:
            DBOS.resume_workflows(stopped)
        DBOS.resume_workflows([run.id], queue_name=queue)
        return
    known = {row.workflow_id: row for row in rows}
    for name in reversed(parts):
        if name in known and (first := _to_do_again(known[name])) is not None:
            DBOS.rewind_workflow(name, start_step=first)
    DBOS.rewind_workflow(run.id, queue_name=queue, queue_partition_key=partition(run))


def _to_do_again(row: Any) -> int | None:
    """The first record to drop from a step that ended, so that it is done again; None
    when it ended well. Work that only failed to be committed is kept, and the number of
    its elements."""
    if row.status != "SUCCESS":
        return None if row.status in ("PENDING", "ENQUEUED") else 1
    outcome = Outcome.from_dict(row.output)
    if outcome.status is not RunStatus.FAILED:
        return None
    if outcome.elements is not None:
        return 2
    return outcome.attempt + 1 if outcome.performed else 1
