"""Where GitHub, GitLab and Gitea tell that a mirrored repository changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volant.errors import VolantError
from volant.web.api.problem import on_volant_error, problem, request_id
from volant.web.git.verbs import Platform

BODY_LIMIT = 25 << 20  # bytes, the most that GitHub sends
PATH = "/api/v1/codesets/{project}/{name}/webhook"


def routes(platform: Platform) -> Sequence[BaseRoute]:
    """The one route: what comes there is signed, so it needs no token."""
    return [Route(PATH, partial(_hear, platform), methods=["POST"])]


async def _hear(platform: Platform, request: Request) -> Response:
    """202 for a call that is signed with the codeset's secret, 401 for any other."""
    names = request.path_params
    try:
        heard = await to_thread.run_sync(
            platform.workbench.mirrors.hears, names["project"], names["name"]
        )
        size = 0
        async for chunk in request.stream():  # no more than a piece of it is ever held
            size += len(chunk)
            if size > BODY_LIMIT:
                return _too_large(request)
            heard.update(chunk)
        await to_thread.run_sync(heard.judge, request.headers)
    except VolantError as error:
        return await on_volant_error(request, error)
    return JSONResponse({"accepted": True}, 202)


def _too_large(request: Request) -> Response:
    return problem(
        "invalid_input",
        status=413,
        what=f"The body is larger than {BODY_LIMIT} bytes.",
        code="body_too_large",
        fix="Have only pushes sent.",
        details={},
        request_id=request_id(request),
    )
