"""Deployments: addresses that answer, and what answers there."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from volant.web.api.guard import needs
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """Everything under `/deployments`."""
    api = router("deployments")
    deployments = platform.deployments
    reads = [needs("deployments.read")]

    @api.get("/deployments", dependencies=reads, summary="All deployments")
    def deployments_list() -> Page[dict[str, Any]]:
        return whole([dict(each) for each in deployments.list()])

    @api.get("/deployments/{name}", dependencies=reads, summary="One deployment")
    def deployments_get(name: str) -> dict[str, Any]:
        """Its address, its live revision, all revisions, and the replicas that run now."""
        return dict(deployments.get(name))

    @api.delete(
        "/deployments/{name}",
        dependencies=[needs("deployments.delete", audit="deployment/{name}")],
        status_code=204,
        summary="End a deployment",
    )
    def deployments_delete(name: str) -> None:
        """Requests under way are answered. The model's versions stay."""
        deployments.delete(name)

    return api
