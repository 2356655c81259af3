"""Experiments and their runs, for people and their programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import StringConstraints

from volant.domain.tracking import ExperimentSummary, Lifecycle, TrackedRun
from volant.errors import InvalidInput
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

# Together short enough for one address, whose length HTTP servers bound.
Filter = Annotated[
    str | None,
    Query(max_length=2000, description="MLflow's grammar: metrics.rmse < 0.7 AND tags.x = 'y'."),
]
Order = Annotated[
    list[Annotated[str, StringConstraints(max_length=300)]] | None,
    Query(max_length=5, description="metrics.rmse DESC, params.depth, start_time, …"),
]


def routes(platform: Platform) -> APIRouter:
    """Everything under `/experiments`."""
    api = router("experiments")
    reads = [needs("tracking.read")]

    @api.get("/experiments", dependencies=reads, summary="Experiments at a glance")
    def experiments_list(
        limit: Limit = 50,
        before: Before = None,
        name: Annotated[str | None, Query(max_length=500)] = None,
    ) -> Page[ExperimentSummary]:
        """Those with the newest runs first; only the one called `name`, if that is given."""
        start = _offset(before)
        found, more = platform.summaries.page(limit, start, name=name)
        return Page(items=list(found), next=str(start + limit) if more else None)

    @api.get(
        "/experiments/{experiment_id}/runs",
        dependencies=reads,
        summary="An experiment's tracked runs",
    )
    def experiments_runs(
        experiment_id: str,
        limit: Limit = 50,
        before: Before = None,
        filter: Filter = None,
        order: Order = None,
    ) -> Page[TrackedRun]:
        """Newest first, or in the order asked for. Raises what a filter has wrong."""
        platform.experiments.get(experiment_id)
        start = _offset(before)
        found, more = platform.tracked_runs.search(
            [experiment_id],
            filter,
            order or [],
            [Lifecycle.ACTIVE],
            {"limit": limit, "offset": start},
        )
        return Page(items=list(found), next=str(start + limit) if more else None)

    return api


def _offset(before: str | None) -> int:
    if before is None:
        return 0
    if not before.isdecimal() or len(before) > 12:
        raise InvalidInput(
            f"{before!r} is no page's cursor.", "Give the `next` of the page before."
        )
    return int(before)
