"""Errors as problem details (RFC 9457): every answer that isn't a success has this form.

`type` is `urn:volant:<kind>`, so that a client can rebuild the very class of the error;
`detail` is its `what`, and `code`, `fix`, `details` and `request_id` are our extensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from volant.errors import VolantError
from volant.web.api.problem import MEDIA_TYPE, on_volant_error, problem, request_id

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
