"""Who may call a route, how much it may send, and the audit of what it changed.

A route declares its permission with `needs(…)` among its dependencies. `GuardedRoute`
checks it before the body is read; a route without a declaration can't be built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, Request, Security, params
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive

from volant.domain.principal import Principal
from volant.errors import Unauthenticated, VolantError
from volant.web.api.problem import request_id
from volant.web.api.verbs import Access, Platform
from volant.web.serverlog import told

JSON_LIMIT = 1 << 20  # bytes of a JSON body
CODE_LIMIT = 48 << 20  # bytes of a body that carries a user's code, base64

_BEARER = HTTPBearer(
    scheme_name="token",
    description="A Volant token. The first one lies in the server's home, in the file `token`.",
    auto_error=False,
)
_log = logging.getLogger("volant.web")


@dataclass(frozen=True)
class Guard:
    """What one route demands.

    `audit` is the subject of the audit entry, with the path's parameters in braces
    (`loop/{name}`); a route without one changes nothing. `body_limit` is in bytes, None
    for a route that streams its body. `secret`: its body may hold secrets, so that no
    refusal tells what stood in it.
    """

    permission: str
    audit: str | None = None
    body_limit: int | None = JSON_LIMIT
    secret: bool = False

    def __call__(
        self, _token: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> None:
        """Nothing: it stands here so that OpenAPI tells that a token is needed."""


class Open:
    """The declaration of a route that answers without a token."""

    def __call__(self) -> None:
        """Nothing: no token, nothing to tell."""


def needs(
    permission: str,
    *,
    audit: str | None = None,
    body_limit: int | None = JSON_LIMIT,
    secret: bool = False,
) -> params.Depends:
    """Declare a route's permission; see `Guard` for the rest."""
    return Depends(Guard(permission, audit, body_limit, secret))


def open_to_all() -> params.Depends:
    """Declare that a route answers without a token."""
    return Depends(Open())


def guard_of(route: APIRoute) -> Guard | Open | None:
    """The declaration of a route, if it has one."""
    for dependency in route.dependencies:
        if isinstance(dependency.dependency, Guard | Open):
            return dependency.dependency
    return None


def caller(request: Request) -> Principal:
    """The principal that `GuardedRoute` admitted."""
    return request.scope["volant.principal"]


Caller = Annotated[Principal, Depends(caller)]


class GuardedRoute(APIRoute):
    """A route that admits its caller, bounds its body and writes the audit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        guard = guard_of(self)
        if guard is None:
            raise LookupError(f"route {self.path} declares no permission")
        inner = super().get_route_handler()
        if isinstance(guard, Open):
            return inner
        action = self.name.replace("_", ".", 1)

        async def handle(request: Request) -> Response:
            request.scope["volant.secret"] = guard.secret
            platform: Platform = request.app.state.platform
            access = platform.access
            try:
                principal = await to_thread.run_sync(_admit, platform, request, guard.permission)
                request.scope["volant.principal"] = principal
                response = await inner(_bounded(request, guard.body_limit))
            except Exception as error:
                await _audit(access, request, guard, action, _outcome(error))
                raise
            await _audit(access, request, guard, action, "ok")
            return response

        return handle


def allow_in(platform: Platform, principal: Principal, project: str, permission: str) -> None:
    """Raises `PermissionDenied` unless the principal has `permission` in a project, whose
    members may have fewer rights there than their tokens have. Routes with `{project}` in
    their path are checked before they are called."""
    platform.access.allow(platform.workbench.projects.within(project, principal), permission)


def _admit(platform: Platform, request: Request, permission: str) -> Principal:
    access = platform.access
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated(
            f"{request.method} {request.url.path} needs a token.",
            "Send the header `Authorization: Bearer TOKEN`.",
        )
    principal = access.authenticate(secret.strip())
    request.scope["volant.principal"] = principal
    access.allow(principal, permission)
    project = request.path_params.get("project")
    if project is not None:
        allow_in(platform, principal, project, permission)
    return principal


def _bounded(request: Request, limit: int | None) -> Request:
    """`request`, whose body ends in 413 when it is longer than `limit` bytes."""
    if limit is None:
        return request
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    return Request(request.scope, _counted(request.receive, limit))


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limit} bytes")


def _outcome(error: Exception) -> str:
    if isinstance(error, VolantError):
        return error.error_code
    if isinstance(error, HTTPException):
        return f"http_{error.status_code}"
    return type(error).__name__


async def _audit(access: Access, request: Request, guard: Guard, action: str, outcome: str) -> None:
    """Tell the audit what was asked, by whom, and how it ended.

    A caller whom we don't know is only in the access log, so that nobody without a
    token can fill the audit. When the entry can't be stored, what was done is done:
    the log takes the entry instead.
    """
    principal: Principal | None = request.scope.get("volant.principal")
    if guard.audit is None or principal is None:
        return
    subject = guard.audit.format_map(request.path_params)
    try:
        await to_thread.run_sync(
            access.note, principal.name, action, subject, outcome, request_id(request)
        )
    except VolantError as error:
        _log.error(
            "audit entry not stored",
            extra=told(
                principal=principal.name,
                action=action,
                subject=subject,
                outcome=outcome,
                error=str(error),
            ),
        )
