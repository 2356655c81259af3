"""The platform's metrics, for a Prometheus that scrapes them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from volant.web.api.guard import needs
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """`/metrics`, beside the API: that is where scrapers look."""
    api = router("system")

    @api.get(
        "/metrics",
        dependencies=[needs("metrics.read")],
        summary="Metrics of the platform and of all deployments",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    )
    def metrics(request: Request) -> Response:
        """Prometheus text, or OpenMetrics where `Accept` prefers it."""
        body, content_type = platform.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return api
