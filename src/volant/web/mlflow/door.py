"""The door through which MLflow's own clients come in.

Plain routes, not FastAPI's: a client makes these calls by the thousand, and each takes
one hop to a thread, which admits the caller, answers and writes the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, compile_path

from volant.domain.principal import Principal
from volant.domain.project import DEFAULT_PROJECT
from volant.errors import InvalidInput, NotFound, VolantError
from volant.web import serverlog
from volant.web.api.problem import request_id
from volant.web.mlflow import (
    artifacts,
    experiments,
    logged_models,
    parts,
    registry,
    runs,
    workspaces,
)
from volant.web.mlflow.admission import admit
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.fields import Fields
from volant.web.mlflow.problems import answer, broken, refused
from volant.web.mlflow.scopes import Scope
from volant.web.mlflow.verbs import Platform

# The version of MLflow whose protocol this is: some clients ask for it and compare.
PROTOCOL_VERSION = "3.17.2"
PREFIXES = tuple(
    f"/{api}/{version}/mlflow" for api in ("api", "ajax-api") for version in ("2.0", "3.0")
)
BODY_LIMIT = 32 << 20  # bytes; a run's inputs may carry profiles of 16 MB

CALLS: tuple[Call, ...] = (
    *experiments.CALLS,
    *runs.CALLS,
    *logged_models.CALLS,
    *artifacts.CALLS,
    *registry.CALLS,
    *workspaces.CALLS,
)

_log = logging.getLogger("volant.web")


def routes(platform: Platform) -> Sequence[BaseRoute]:
    """Every call below each of its prefixes, and what clients ask about the server."""
    return [
        Route("/version", _version, methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
        *artifacts.routes(platform),
        *parts.routes(platform),
        *(
            Route(f"{prefix}/{{call:path}}", partial(_serve, platform), methods=_METHODS)
            for prefix in PREFIXES
        ),
    ]


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Calls without a name in their path are looked up: a router would try a hundred patterns.
_PLAIN = {(call.method, call.path): call for call in CALLS if "{" not in call.path}
_NAMED = tuple((call, compile_path(call.path)[0]) for call in CALLS if "{" in call.path)


def _call(method: str, path: str) -> tuple[Call, dict[str, str]]:
    """The call, and the names in its path. Raises `NotFound`."""
    plain = _PLAIN.get((method, path))
    if plain is not None:
        return plain, {}
    for call, pattern in _NAMED:
        found = pattern.match(path) if call.method == method else None
        if found is not None:
            return call, found.groupdict()
    raise NotFound(
        f"{method} {path} isn't a call that Volant answers.",
        "See docs: what of MLflow's protocol is there.",
        code="no_endpoint",
    )


async def _version(request: Request) -> Response:
    return PlainTextResponse(PROTOCOL_VERSION)


async def _health(request: Request) -> Response:
    return PlainTextResponse("OK")


def _server_info() -> Response:
    facts = {
        "store_type": "SqlStore",
        "workspaces_enabled": True,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": True,
        "multipart_downloads_enabled": False,
        "features_enabled": [],
    }
    return answer(200, facts)


async def _serve(platform: Platform, request: Request) -> Response:
    path = "/" + request.path_params["call"]
    if path == "/server-info" and request.method == "GET":
        return _server_info()
    try:
        call, names = _call(request.method, path)
        body = await _body(request)
    except VolantError as error:
        return refused(error)
    return await to_thread.run_sync(_answered, platform, call, names, request, body)


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise InvalidInput(
                f"The body is larger than {BODY_LIMIT} bytes.",
                "Send less at once.",
                code="body_too_large",
            )
        parts.append(chunk)
    return b"".join(parts)


def _answered(
    platform: Platform, call: Call, names: dict[str, str], request: Request, body: bytes
) -> Response:
    principal: Principal | None = None
    project, named = DEFAULT_PROJECT, workspaces.named(call.path, names)
    fields = Fields({})
    try:
        principal, project = admit(platform, request, call.permission, named)
        fields = _fields(request, names, body)
        if named is None:
            fields = Scope(platform, project).check(call.method, call.path, fields)
        found = call.handler(Asked(platform, fields, principal, project))
        response, outcome = answer(call.status, found), "ok"
    except VolantError as error:
        response, outcome = refused(error), error.error_code
    except Exception as error:
        response, outcome = broken(request), type(error).__name__
    if call.audit is not None and principal is not None:
        subject = call.audit.format_map(_Shown(fields))
        if named is None and project != DEFAULT_PROJECT:
            subject = f"project/{project}/{subject}"
        _note(platform, principal, call.path, subject, outcome, request_id(request))
    return response


def _fields(request: Request, names: dict[str, str], body: bytes) -> Fields:
    if request.method == "GET" or (request.method == "DELETE" and not body):
        fields = Fields.of_query(request.query_params.multi_items())
    else:
        fields = Fields.of_body(body)
    return fields.having(**names) if names else fields


def _note(platform: Platform, principal: Principal, path: str, *told: str) -> None:
    action = f"mlflow{path.replace('/', '.')}"
    try:
        platform.access.note(principal.name, action, *told)
    except VolantError as error:
        _log.error(
            "audit entry not stored",
            extra=serverlog.told(action=action, subject=told, error=str(error)),
        )


class _Shown(dict[str, Any]):
    """Parameters for an audit subject; one that isn't there is a question mark."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, name: str) -> str:
        return self._fields.value(name)[:200] or "?"
