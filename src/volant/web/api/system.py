"""Health, status, and the API's own description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from volant import __version__
from volant.web.api.guard import needs, open_to_all
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


class Health(BaseModel):
    """The server answers."""

    status: str
    version: str


_SHOWN = ("name", "status", "model", "live_version", "infer_url", "recent")


def _deployment(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found.get(key) for key in _SHOWN}


def routes(platform: Platform, app: FastAPI) -> APIRouter:
    """`/health`, `/status` and `/openapi.json`."""
    api = router("system")

    @api.get("/health", dependencies=[open_to_all()], summary="Is the server alive?")
    async def health() -> Health:
        """Answers as long as the process serves requests. It needs no token."""
        return Health(status="ok", version=__version__)

    @api.get("/status", dependencies=[needs("status.read")], summary="The platform at a glance")
    def status() -> dict[str, Any]:
        """Version, home, database, datasets, loops, and all deployments, those that no loop
        made as well."""
        found = platform.status()
        return {**found, "deployments": [_deployment(each) for each in found["deployments"]]}

    @api.get(
        "/openapi.json",
        dependencies=[needs("status.read")],
        summary="This description",
        include_in_schema=False,
    )
    def openapi() -> dict[str, Any]:
        return app.openapi()

    return api
