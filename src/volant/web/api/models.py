"""Models and their versions."""

from __future__ import annotations

from fastapi import APIRouter

from volant.domain.model import ModelVersion
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """Everything under `/models`."""
    api = router("models")
    models = platform.models
    reads = [needs("models.read")]

    @api.get("/models", dependencies=reads, summary="Versions of all models, newest first")
    def models_list(limit: Limit = 50, before: Before = None) -> Page[ModelVersion]:
        return page(models.page(limit, before, name=None))

    @api.get("/models/{name}/versions", dependencies=reads, summary="A model's versions")
    def models_versions(name: str, limit: Limit = 50, before: Before = None) -> Page[ModelVersion]:
        return page(models.page(limit, before, name=name))

    @api.get("/models/{name}/versions/{version}", dependencies=reads, summary="One version")
    def models_get(name: str, version: str) -> ModelVersion:
        """`version` is a number or an alias: `champion`, `challenger`."""
        return models.get(name, version)

    return api
