"""The measurements of tracked runs, and the searches that made some."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from volant.domain.tracking import Metric
from volant.web.api.guard import needs
from volant.web.api.pages import Page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

POINTS = 2500


def routes(platform: Platform) -> APIRouter:
    """`/tracking/runs/{id}/metrics` and `/runs/{id}/search`."""
    api = router("tracking")

    @api.get(
        "/tracking/runs/{run_id}/metrics",
        dependencies=[needs("tracking.read")],
        summary="The history of one metric of a run",
    )
    def tracking_metrics(
        run_id: str,
        key: Annotated[str, Query(max_length=250)],
        points: Annotated[int, Query(ge=2, le=POINTS)] = 500,
    ) -> Page[Metric]:
        """By step; thinned evenly to about `points`, first and last kept."""
        found = platform.tracking.history(run_id, key)
        stride = max(1, -(-len(found) // points))
        chosen = list(found[::stride])
        if (len(found) - 1) % stride:
            chosen.append(found[-1])
        return Page(items=chosen, next=None)

    @api.get(
        "/runs/{run_id}/search",
        dependencies=[needs("tracking.read")],
        summary="How far the search of a run is",
    )
    def runs_search(run_id: str) -> dict[str, Any]:
        """Trials by their state and the best so far; `search` is its tracked run."""
        return dict(platform.searches.progress(run_id))

    return api
