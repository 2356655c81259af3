"""Errors as MLflow's clients know them: `error_code` and `message`."""

from __future__ import annotations

import logging

import orjson
from starlette.requests import Request
from starlette.responses import Response

from volant.errors import VolantError
from volant.web import serverlog
from volant.web.api.problem import request_id

# kind → status and MLflow's code; its clients try 5xx again, so no fault of theirs is one
_KINDS: dict[str, tuple[int, str]] = {
    "invalid_input": (400, "INVALID_PARAMETER_VALUE"),
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "permission_denied": (403, "PERMISSION_DENIED"),
    "not_found": (404, "RESOURCE_DOES_NOT_EXIST"),
    "conflict": (409, "RESOURCE_CONFLICT"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
    "resource_exhausted": (507, "RESOURCE_EXHAUSTED"),
    "missing_extra": (501, "NOT_IMPLEMENTED"),
}
_CODES: dict[str, tuple[int, str]] = {
    "already_exists": (400, "RESOURCE_ALREADY_EXISTS"),
    "project_exists": (400, "RESOURCE_ALREADY_EXISTS"),
    "not_implemented": (501, "NOT_IMPLEMENTED"),
    "no_endpoint": (404, "ENDPOINT_NOT_FOUND"),
    "model.no_alias": (400, "INVALID_PARAMETER_VALUE"),
}


_log = logging.getLogger("volant.web")


def refused(error: VolantError) -> Response:
    """The answer for a foreseen error."""
    found = _CODES.get(error.error_code) or _KINDS.get(type(error).code)
    status, code = found or (500, "INTERNAL_ERROR")
    message = f"{error.what} {error.fix}".strip()
    headers = {"WWW-Authenticate": 'Basic realm="volant"'} if status == 401 else {}
    if status == 503:
        headers["Retry-After"] = "2"
    return answer(status, {"error_code": code, "message": message}, headers)


def broken(request: Request) -> Response:
    """The answer for the exception at hand, which nobody foresaw: it is in the log."""
    _log.exception(
        "unexpected error", extra=serverlog.told(method=request.method, path=request.url.path)
    )
    told = request_id(request)
    message = f"The server met an unexpected error. Look for request {told} in its log."
    return answer(500, {"error_code": "INTERNAL_ERROR", "message": message})


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; 204 has no body."""
    return Response(
        b"" if status == 204 else orjson.dumps(body),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )
