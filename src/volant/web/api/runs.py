"""Runs: their facts, state and logs; cancel, resume, retry."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, params
from pydantic import BaseModel, ConfigDict

from volant.domain.run import Run, RunState
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(Run):
    """A run's facts, and its state as the engine tells it now."""

    state: RunState


class RetryRequest(BaseModel):
    """Where a retry begins; at the first step that didn't succeed when absent."""

    model_config = ConfigDict(extra="forbid")

    from_step: str | None = None


class LogLine(BaseModel):
    """One line that a step wrote."""

    step: str
    time: datetime | str
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
        limit: Limit = 50, before: Before = None, loop: str | None = None
    ) -> Page[RunView]:
        found, cursor = runs.page(limit, before, loop)
        return page(([_view(each) for each in found], cursor))

    @api.get("/runs/{run_id}", dependencies=reads, summary="One run and its steps")
    def runs_get(run_id: str) -> RunView:
        return _view(runs.get(run_id))

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
        after: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> Logs:
        """Lines after the cursor `after`. Ask again with the new one until `done`."""
        found: dict[str, Any] = dict(runs.logs(run_id, step, after))
        return Logs.model_validate(found)

    return api


def _view(found: tuple[Run, RunState]) -> RunView:
    run, state = found
    return RunView(**{field.name: getattr(run, field.name) for field in fields(run)}, state=state)
