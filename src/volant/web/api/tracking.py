"""Tracked runs: parameters and metrics of trainings."""

from __future__ import annotations

from fastapi import APIRouter

from volant.domain.tracking import TrackedRun
from volant.web.api.guard import needs
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """`/tracking/runs/{id}`."""
    api = router("tracking")

    @api.get(
        "/tracking/runs/{run_id}",
        dependencies=[needs("tracking.read")],
        summary="One tracked run",
    )
    def tracking_get(run_id: str) -> TrackedRun:
        return platform.tracking.get(run_id)

    return api
