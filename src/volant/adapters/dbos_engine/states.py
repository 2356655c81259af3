"""Runs' states, read from DBOS' tables and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from volant.adapters.dbos_engine.board import CHUNK, outcome_of, rows_of
from volant.adapters.dbos_engine.database import Tables
from volant.adapters.dbos_engine.outcome import EACH, element_name, moment, step_id
from volant.domain.run import RunState, RunStatus, StepState

Record = tuple[str, Mapping[str, Any]]  # a recorded function's name, and its JSON


class Elements(NamedTuple):
    """How those of a step stand, and when the first of them began (ms)."""

    counts: Mapping[str, int]
    began: int | None


# A step's name, its row, its finished attempts, and its elements.
Entry = tuple[str, Any, Sequence[Mapping[str, Any]], Elements | None]

_ACTIVE = {
    "ENQUEUED": RunStatus.QUEUED,
    "DELAYED": RunStatus.QUEUED,
    "PENDING": RunStatus.RUNNING,
    "CANCELLED": RunStatus.CANCELLED,
}
# What a step that never began is, by what its run is.
_UNBEGUN = {
    RunStatus.QUEUED: RunStatus.QUEUED,
    RunStatus.RUNNING: RunStatus.QUEUED,
    RunStatus.CANCELLED: RunStatus.CANCELLED,
}


@dataclass(frozen=True)
class States:
    """Two queries for a page of runs; a third where some of their steps are at work or were
    cancelled, and a fourth where some of these are done for each element of a list."""

    tables: Tables

    def read(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The state of each run that DBOS knows."""
        runs = {row.workflow_id: row for row in rows_of(run_ids, inputs=True)}
        steps = {run_id: _step_names(row) for run_id, row in runs.items()}
        names = [step_id(run_id, name) for run_id in runs for name in steps[run_id]]
        rows = {row.workflow_id: row for row in rows_of(names)}
        # A cancelled one has no outcome that tells of its elements.
        working = [name for name, row in rows.items() if row.status in ("PENDING", "CANCELLED")]
        records = self._records(working)
        elements = self._elements(records)
        return {
            run_id: _run_state(
                runs[run_id],
                [
                    (name, rows.get(key), _attempts(records.get(key, ())), elements.get(key))
                    for name in steps[run_id]
                    if (key := step_id(run_id, name))
                ],
            )
            for run_id in run_ids
            if run_id in runs
        }

    def steps_of(self, run_id: str) -> Sequence[str] | None:
        """The names of a run's steps; None when DBOS doesn't know the run."""
        rows = rows_of([run_id], inputs=True)
        return _step_names(rows[0]) if rows else None

    def workflows_of(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The identifiers of all that a run consists of but itself, for each that is known:
        steps, and elements of steps."""
        runs = {row.workflow_id: row for row in rows_of(run_ids, inputs=True)}
        steps = {
            run_id: [step_id(run_id, name) for name in _step_names(row)]
            for run_id, row in runs.items()
        }
        records = self._records([name for names in steps.values() for name in names])
        return {
            run_id: [*names, *(part for name in names for part in _parts(name, records))]
            for run_id, names in steps.items()
        }

    def _records(self, names: Sequence[str]) -> Mapping[str, Sequence[Record]]:
        """What these steps recorded: their finished attempts, how many elements they have."""
        found: dict[str, list[Record]] = {}
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            for workflow, function, output, _ in self.tables.recorded_steps(chunk):
                found.setdefault(workflow, []).append((function, json.loads(output)))
        return found

    def _elements(self, records: Mapping[str, Sequence[Record]]) -> Mapping[str, Elements]:
        """The elements of steps at work."""
        parts = {name: found for name in records if (found := _parts(name, records))}
        names = [part for found in parts.values() for part in found]
        rows: dict[str, tuple[str, str | None, int]] = {}
        for start in range(0, len(names), CHUNK):
            rows.update(self.tables.statuses(names[start : start + CHUNK]))
        return {
            name: _counted(len(found), [rows[part] for part in found if part in rows])
            for name, found in parts.items()
        }


def _counted(total: int, begun: Sequence[tuple[str, str | None, int]]) -> Elements:
    counts = {
        "total": total,
        "ended": sum(status in ("SUCCESS", "ERROR") for status, _, _ in begun),
        "running": sum(status == "PENDING" for status, _, _ in begun),
    }
    return Elements(counts, min((began for _, _, began in begun), default=None))


def _parts(name: str, records: Mapping[str, Sequence[Record]]) -> Sequence[str]:
    for function, body in records.get(name, ()):
        if function == EACH:
            return [element_name(name, index) for index in range(body["count"])]
    return ()


def _attempts(records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
    return [body for function, body in records if function.startswith("perform:")]


def _step_names(row: Any) -> Sequence[str]:
    return row.input["args"][1]


def _run_state(row: Any, entries: Sequence[Entry]) -> RunState:
    status, error, ended_ms = _run_outcome(row)
    steps = tuple(_step_state(entry, status) for entry in entries)
    begun = [step.started_at for step in steps if step.started_at is not None]
    started = min(begun) if begun else moment(row.dequeued_at)
    ended = moment(ended_ms)
    if ended is not None and started is not None:
        ended = max(started, ended)
    return RunState(row.workflow_id, status, steps, started, ended, error)


def _run_outcome(row: Any) -> tuple[RunStatus, Mapping[str, Any] | None, int | None]:
    if row.status == "SUCCESS":
        return RunStatus(row.output["status"]), row.output["error"], row.output["ended"]
    if row.status in _ACTIVE:
        return _ACTIVE[row.status], None, row.completed_at
    outcome = outcome_of(row)  # an error of the engine itself
    return RunStatus.FAILED, outcome.error if outcome else None, row.completed_at


def _step_state(entry: Entry, run: RunStatus) -> StepState:
    name, row, attempts, elements = entry
    counts, began = elements or (None, None)
    if row is None:
        return StepState(name, _UNBEGUN.get(run, RunStatus.SKIPPED))
    if row.status in ("ENQUEUED", "DELAYED"):
        return StepState(name, RunStatus.QUEUED)
    if row.status == "PENDING":
        begun = began or row.dequeued_at or row.created_at
        started = attempts[0]["started"] if attempts else begun
        failed = attempts[-1].get("error") if attempts else None
        done = bool(attempts) and failed is None  # performed, being committed
        attempt = len(attempts) + (0 if done else 1)
        return StepState(
            name, RunStatus.RUNNING, attempt, moment(started), error=failed, elements=counts
        )
    outcome = outcome_of(row)
    assert outcome is not None  # every other status is final
    return StepState(
        name,
        outcome.status,
        outcome.attempt,
        moment(began or outcome.started_ms),
        moment(outcome.ended_ms),
        outcome.outputs,
        None if outcome.status is RunStatus.CANCELLED else outcome.error,
        outcome.cached,
        outcome.elements or counts,
    )
