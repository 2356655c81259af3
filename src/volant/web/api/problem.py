"""One error as problem details (RFC 9457), without the framework: the doors of other
protocols and the edge need no more, and answer before the API is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

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
