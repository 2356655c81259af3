"""The application: every router, under one roof."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from volant import __version__
from volant.web.api import (
    access,
    app_page,
    applications,
    codesets,
    datasets,
    decisions,
    deployments,
    events,
    experiments,
    extensions,
    loops,
    metrics,
    models,
    monitoring,
    outside,
    predictions,
    problems,
    projects,
    registry,
    runnables,
    runs,
    system,
    tracked,
    tracking,
    workflows,
)
from volant.web.api.app_sessions import AppSessions
from volant.web.api.edge import Edge
from volant.web.api.verbs import Platform

PREFIX = "/api/v1"
_NOUNS = (
    datasets,
    loops,
    decisions,
    runs,
    models,
    registry,
    deployments,
    monitoring,
    predictions,
    tracking,
    tracked,
    experiments,
    extensions,
    events,
    access,
    workflows,
    outside,
    projects,
    applications,
    runnables,
    codesets,
)


def create_app(
    platform: Platform,
    *,
    hosts: Collection[str] | None = None,
    doors: Sequence[BaseRoute] = (),
    sessions: AppSessions | None = None,
) -> FastAPI:
    """The API over `platform`.

    Args:
        platform: The verbs to call; kept as `app.state.platform`.
        hosts: Names that a request's Host header may carry, None for any.
        doors: Routes of other protocols, which admit their callers themselves.
        sessions: What links to the test app open; its pages, among the doors, share it.
    """
    app = FastAPI(
        title="Volant",
        version=__version__,
        openapi_url=None,  # it is one of our own routes: it needs a token
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.add_middleware(Edge, hosts=hosts)
    problems.install(app)
    for router in (system.routes(platform, app), *(noun.routes(platform) for noun in _NOUNS)):
        _include(app, router)
    _include(app, metrics.routes(platform), prefix="")
    _include(app, app_page.routes(platform, sessions or AppSessions()))
    # First, as they are few patterns for many calls, made by the thousand.
    app.router.routes[:0] = doors

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = problems.describe(
                get_openapi(
                    title="Volant",
                    version=__version__,
                    description="From new data to a better model in production.",
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = openapi
    return app


def _include(app: FastAPI, router: APIRouter, prefix: str = PREFIX) -> None:
    app.include_router(router, prefix=prefix, generate_unique_id_function=_operation)


def _operation(route: APIRoute) -> str:
    return route.name
