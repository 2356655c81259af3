"""Runs' states, read from DBOS' tables and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbos import DBOS

from volant.adapters.dbos_engine.database import Tables
from volant.adapters.dbos_engine.outcome import moment, step_id
from volant.adapters.dbos_engine.walk import outcome_of
from volant.domain.run import RunState, RunStatus, StepState

CHUNK = 500  # identifiers a query, well under every database's limit of parameters

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
    """Two queries for a page of runs; a third while some of their steps are at work."""

    tables: Tables

    def read(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The state of each run that DBOS knows."""
        runs = {row.workflow_id: row for row in _rows(run_ids, inputs=True)}
        steps = {run_id: _step_names(row) for run_id, row in runs.items()}
        names = [step_id(run_id, name) for run_id in runs for name in steps[run_id]]
        rows = {row.workflow_id: row for row in _rows(names)}
        working = [name for name, row in rows.items() if row.status == "PENDING"]
        attempts = self._attempts(working)
        return {
            run_id: _run_state(runs[run_id], steps[run_id], rows, attempts)
            for run_id in run_ids
            if run_id in runs
        }

    def steps_of(self, run_id: str) -> Sequence[str] | None:
        """The names of a run's steps; None when DBOS doesn't know the run."""
        rows = _rows([run_id], inputs=True)
        return _step_names(rows[0]) if rows else None

    def _attempts(self, names: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The finished attempts of steps at work."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            for workflow, function, output, _ in self.tables.recorded_steps(chunk):
                if function.startswith("perform:"):
                    found.setdefault(workflow, []).append(json.loads(output))
        return found


def _rows(ids: Sequence[str], *, inputs: bool = False) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(ids), CHUNK):
        chunk = list(ids[start : start + CHUNK])
        rows += DBOS.list_workflows(workflow_ids=chunk, load_input=inputs)
    return rows


def _step_names(row: Any) -> Sequence[str]:
    return row.input["args"][1]


def _run_state(
    row: Any,
    names: Sequence[str],
    rows: Mapping[str, Any],
    attempts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> RunState:
    status, error, ended_ms = _run_outcome(row)
    steps = tuple(
        _step_state(name, rows.get(key), status, attempts.get(key, ()))
        for name in names
        if (key := step_id(row.workflow_id, name))
    )
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


def _step_state(
    name: str, row: Any, run: RunStatus, attempts: Sequence[Mapping[str, Any]]
) -> StepState:
    if row is None:
        return StepState(name, _UNBEGUN.get(run, RunStatus.SKIPPED))
    if row.status in ("ENQUEUED", "DELAYED"):
        return StepState(name, RunStatus.QUEUED)
    if row.status == "PENDING":
        started = attempts[0]["started"] if attempts else row.dequeued_at or row.created_at
        failed = attempts[-1].get("error") if attempts else None
        done = bool(attempts) and failed is None  # performed, being committed
        attempt = len(attempts) + (0 if done else 1)
        return StepState(name, RunStatus.RUNNING, attempt, moment(started), error=failed)
    outcome = outcome_of(row)
    assert outcome is not None  # every other status is final
    started, ended = moment(outcome.started_ms), moment(outcome.ended_ms)
    error = None if outcome.status is RunStatus.CANCELLED else outcome.error
    return StepState(name, outcome.status, outcome.attempt, started, ended, outcome.outputs, error)
