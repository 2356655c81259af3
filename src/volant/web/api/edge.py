"""The outermost layer: request ids, the Host check, headers, the access log, and the last
net for exceptions that nobody foresaw."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from volant.domain.principal import Principal
from volant.web.api.problem import internal_problem, problem
from volant.web.serverlog import current_request, told

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("volant.access")

# An API answers data, never a page: nothing in it may run, be framed or be kept.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Edge:
    """Pure ASGI middleware around the whole application.

    `hosts` are the names that a request's Host header may carry, None for any. On
    loopback it is the defence against DNS rebinding: a page of another origin whose
    name was made to resolve to 127.0.0.1 still sends its own name here.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._hosts = frozenset(hosts) if hosts is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        scope["volant.request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        token = current_request.set(request_id)
        try:
            if self._hosts is not None and _host(headers) not in self._hosts:
                await _wrong_host(headers, request_id)(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = 499  # nobody is left to read an answer
        except Exception:
            _log.exception(
                "unexpected error", extra=told(method=scope["method"], path=scope["path"])
            )
            if answer.status:
                raise  # half an answer is out: only a broken connection tells the truth
            await internal_problem(request_id)(scope, receive, answer.send)
        finally:
            _tell(scope, answer.status, time.perf_counter() - started)
            current_request.reset(token)


class _Answer:
    """Watches an answer go out and puts our headers on it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _host(headers: Headers) -> str:
    """The Host header's name, without its port."""
    host = headers.get("host", "").lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] or host


def _wrong_host(headers: Headers, request_id: str) -> ASGIApp:
    return problem(
        "invalid_input",
        status=421,
        what=f"This server doesn't answer for the host {headers.get('host', '')!r}.",
        code="wrong_host",
        fix="Use the address that `volant up` printed.",
        details={},
        request_id=request_id,
    )


def _tell(scope: Scope, status: int, seconds: float) -> None:
    principal: Principal | None = scope.get("volant.principal")
    client = scope.get("client")
    fields = told(
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 2),
        principal=principal.name if principal else None,
        client=client[0] if client else None,
    )
    level = logging.DEBUG if scope["path"] == "/api/v1/health" else logging.INFO
    _log.log(level, "request", extra=fields)
