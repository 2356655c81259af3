"""Errors as problem details (RFC 9457): every answer that isn't a success has this form.

`type` is `urn:volant:<kind>`, so that a client can rebuild the very class of the error;
`detail` is its `what`, and `code`, `fix`, `details` and `request_id` are our extensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from volant.errors import VolantError

MEDIA_TYPE = "application/problem+json"

# kind → status, and the title that never changes from one occurrence to the next
KINDS: dict[str, tuple[int, str]] = {
    "invalid_input": (400, "Invalid input"),
    "unauthenticated": (401, "Not authenticated"),
    "permission_denied": (403, "Permission denied"),
    "not_found": (404, "Not found"),
    "conflict": (409, "Conflict"),
    "step_failed": (500, "A step failed"),
    "missing_extra": (501, "An optional part isn't installed"),
    "unavailable": (503, "Unavailable"),
    "resource_exhausted": (507, "Resources exhausted"),
    "error": (500, "Internal error"),
}

_HEADERS: dict[str, dict[str, str]] = {
    "unauthenticated": {"WWW-Authenticate": 'Bearer realm="volant"'},
    "unavailable": {"Retry-After": "2"},
}

# status of the framework's own refusals → kind, code, what to do
_HTTP: dict[int, tuple[str, str, str]] = {
    400: ("invalid_input", "bad_request", "Send what /api/v1/openapi.json describes."),
    404: ("not_found", "no_such_route", "See /api/v1/openapi.json for the routes."),
    405: ("invalid_input", "method_not_allowed", "Use a method that the Allow header names."),
    413: ("invalid_input", "body_too_large", "Send less, or push data as an upload."),
    415: ("invalid_input", "media_type", "Send application/json."),
}


class Problem(BaseModel):
    """A refusal or a failure, as problem details (RFC 9457)."""

    type: str = Field(description="urn:volant:<kind>", examples=["urn:volant:not_found"])
    title: str = Field(description="The kind of error, in words.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened, with the offending value.")
    code: str = Field(description="A stable identifier of this error.")
    fix: str = Field(description="What to do now.")
    details: dict[str, Any] = Field(description="Facts: file, line, column, counts…")
    request_id: str = Field(description="The id to look for in the server's log.")


def request_id(request: Request) -> str:
    """The id that the edge gave to this request."""
    return str(request.scope.get("volant.request_id", ""))


def problem(
    kind: str,
    *,
    status: int,
    what: str,
    code: str,
    fix: str,
    details: Mapping[str, Any],
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer for one error."""
    body = {
        "type": f"urn:volant:{kind}",
        "title": KINDS.get(kind, KINDS["error"])[1],
        "status": status,
        "detail": what,
        "code": code,
        "fix": fix,
        "details": details,
        "request_id": request_id,
    }
    return Response(
        orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**_HEADERS.get(kind, {}), **(headers or {})},
    )


def internal_problem(request_id: str) -> Response:
    """The answer for an exception that nobody foresaw: it tells no internals."""
    return problem(
        "error",
        status=500,
        what="The server met an unexpected error.",
        code="internal",
        fix=f"Look for request {request_id} in the server's log.",
        details={},
        request_id=request_id,
    )


async def on_volant_error(request: Request, error: Exception) -> Response:
    """A `VolantError` with the status of its kind."""
    assert isinstance(error, VolantError)
    kind = type(error).code
    status = KINDS.get(kind, KINDS["error"])[0]
    return problem(
        kind,
        status=status,
        what=error.what,
        code=error.error_code,
        fix=error.fix,
        details=error.details,
        request_id=request_id(request),
    )


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals: unknown route, wrong method, body too large."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    kind, code, fix = _HTTP.get(status, ("error", HTTPStatus(status).phrase.lower(), ""))
    what = f"{request.method} {request.url.path}: {error.detail}."
    headers = dict(error.headers or {})
    if status == 405:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
    return problem(
        kind,
        status=status,
        what=what,
        code=code,
        fix=fix,
        details={},
        request_id=request_id(request),
        headers=headers,
    )


def _allowed(request: Request) -> str:
    """The methods of all routes at the request's path: the framework names those of the
    first one only."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if compile_path(route.path or "")[0].match(request.scope["path"]):
            found |= set(route.methods or ())
    return ", ".join(sorted(found))


async def on_validation_error(request: Request, error: Exception) -> Response:
    """400, naming each field that doesn't fit and why."""
    assert isinstance(error, RequestValidationError)
    faults = [_fault(each) for each in error.errors()]
    if request.scope.get("volant.secret"):
        for fault in faults:
            fault.pop("value", None)
    return problem(
        "invalid_input",
        status=400,
        what=_sentence(faults),
        code="invalid_request",
        fix="Correct the fields named; /api/v1/openapi.json describes them.",
        details={"errors": faults},
        request_id=request_id(request),
    )


def _fault(error: Mapping[str, Any]) -> dict[str, Any]:
    place, *path = error["loc"]
    if error["type"] == "json_invalid":
        reason = f"is not JSON: {error['ctx']['error']} at character {path[0]}"
        return {"in": place, "field": "", "reason": reason}
    return {
        "in": place,
        "field": ".".join(str(part) for part in path),
        "reason": str(error["msg"]),
        "value": _shown(error.get("input")),
    }


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def _sentence(faults: Sequence[Mapping[str, Any]]) -> str:
    told: list[str] = []
    for fault in faults[:5]:
        where = f"{fault['in']} {fault['field']}".strip()
        got = fault.get("value")
        told.append(f"{where}: {fault['reason']}" + (f" (got {got})" if got else ""))
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return "; ".join(told) + more + "."


def install(app: FastAPI) -> None:
    """Make every foreseen error of `app` a problem; the edge takes the unforeseen."""
    app.add_exception_handler(VolantError, on_volant_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Put `Problem` into an OpenAPI document as every operation's other answer."""
    schemas: dict[str, Any] = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    answer = {
        "description": "A problem: refused or failed.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    return schema
