"""Runs: their facts, state and logs; cancel, resume, retry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, params
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.run import Run, RunState, RunStatus
from volant.errors import InvalidInput
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform
from volant.workflows.difference import difference
from volant.workflows.outcome import outputs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(Run):
    """A run's facts, and its state as the engine tells it now. `outputs` are its
    workflow's, as far as they are known."""

    state: RunState
    outputs: Mapping[str, Any]


class RetryRequest(BaseModel):
    """Where a retry begins; at the first step that didn't succeed when absent."""

    model_config = ConfigDict(extra="forbid")

    from_step: str | None = None


class PruneRequest(BaseModel):
    """Which runs may go. Without `apply` it is only told what would go."""

    model_config = ConfigDict(extra="forbid")

    keep: int | None = Field(default=None, description="How many of each workflow stay.")
    older_than_s: float | None = Field(default=None, description="Younger ones stay.")
    apply: bool = False


class KeptRun(BaseModel):
    """`reason` says why it stays; null for one that goes, and `done` when it is gone."""

    model_config = ConfigDict(from_attributes=True)

    run: str
    of: str
    status: RunStatus
    created_at: datetime
    reason: str | None
    done: bool


@dataclass(frozen=True, slots=True)
class Only:
    """Which runs a list is of. `codeset` is its name, with `project` its project's;
    `registered`: only runs of workflows that are registered now."""

    workflow: str | None = None
    project: str | None = None
    codeset: str | None = None
    status: Annotated[tuple[RunStatus, ...], Query()] = ()
    registered: bool = False

    def given(self) -> dict[str, Any]:
        """As `page` takes them; what isn't given is left out."""
        if self.codeset is not None and self.project is None:
            raise InvalidInput(
                f"A codeset {self.codeset!r} is named together with its project.",
                "Give the project too.",
            )
        told = {
            "workflow": self.workflow,
            "project": self.project,
            "codeset": f"{self.project}/{self.codeset}" if self.codeset else None,
            "status": frozenset(self.status) or None,
            "registered": self.registered or None,
        }
        return {key: value for key, value in told.items() if value is not None}


ALL = Only()


class LogLine(BaseModel):
    """One line that a step wrote, or an element (`fit/2`) of a step with `foreach`. `time` is
    in ISO 8601; null for what was left of a line when its writer died."""

    step: str
    time: str | None
    stream: str
    text: str


class Logs(BaseModel):
    """Lines, and where to go on. `done`: the run has ended and no line is left."""

    lines: list[LogLine]
    after: str | None
    done: bool


def routes(platform: Platform) -> APIRouter:
    """Everything under `/runs`."""
    api = router("runs")
    runs = platform.runs
    reads = [needs("runs.read")]

    def writes(verb: str) -> list[params.Depends]:
        return [needs(f"runs.{verb}", audit="run/{run_id}")]

    @api.get("/runs", dependencies=reads, summary="Runs, newest first")
    def runs_list(
        limit: Limit = 50,
        before: Before = None,
        loop: str | None = None,
        only: Annotated[Only, Depends()] = ALL,
    ) -> Page[RunView]:
        found, cursor = runs.page(limit, before, loop, **only.given())
        return page(([_view(each) for each in found], cursor))

    @api.get("/runs/{run_id}", dependencies=reads, summary="One run and its steps")
    def runs_get(run_id: str) -> RunView:
        return _view(runs.get(run_id))

    @api.get("/runs/{run_id}/diff/{other}", dependencies=reads, summary="Two runs compared")
    def runs_diff(run_id: str, other: str) -> dict[str, Any]:
        """What differs, each as a pair: inputs, commits, what the steps were and gave,
        and how long they took."""
        return difference(runs.get(run_id), runs.get(other))

    @api.post(
        "/run-retention",
        dependencies=[needs("runs.prune", audit="runs")],
        summary="Old runs that nothing needs",
    )
    def runs_prune(body: PruneRequest) -> Page[KeptRun]:
        """What goes and what stays, with why; with `apply` it is done."""
        found = platform.workbench.retention.prune(**body.model_dump())
        return whole([KeptRun.model_validate(each) for each in found])

    @api.post("/runs/{run_id}/cancel", dependencies=writes("cancel"), summary="Stop a run")
    def runs_cancel(run_id: str) -> RunView:
        runs.cancel(run_id)
        return _view(runs.get(run_id))

    @api.post(
        "/runs/{run_id}/resume", dependencies=writes("resume"), summary="Go on with a stopped run"
    )
    def runs_resume(run_id: str) -> RunView:
        """Steps that succeeded aren't repeated."""
        runs.resume(run_id)
        return _view(runs.get(run_id))

    @api.post(
        "/runs/{run_id}/retry",
        dependencies=writes("retry"),
        status_code=202,
        summary="Run again, from a step on",
    )
    def runs_retry(run_id: str, body: RetryRequest | None = None) -> Run:
        """A new run; the steps before the one named keep their outputs."""
        return runs.retry(run_id, body.from_step if body else None)

    @api.get("/runs/{run_id}/logs", dependencies=reads, summary="A run's log")
    def runs_logs(
        run_id: str,
        step: str | None = None,
        after: Annotated[str | None, Query(max_length=40_000)] = None,
    ) -> Logs:
        """Lines after the cursor `after`. Ask again with the new one until `done`."""
        found: dict[str, Any] = dict(runs.logs(run_id, step, after))
        return Logs.model_validate(found)

    return api


def _view(found: tuple[Run, RunState]) -> RunView:
    run, state = found
    facts = {field.name: getattr(run, field.name) for field in fields(run)}
    return RunView(**facts, state=state, outputs=outputs_of(run, state))
