"""The door through which git comes in: smart HTTP, as `git http-backend` speaks it.

Plain ASGI: git's answers may be gigabytes and begin before its questions end.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from volant.access.permissions import Permission
from volant.codesets.repository import Repository
from volant.domain.principal import Principal
from volant.errors import InvalidInput, NotFound, Unauthenticated, VolantError
from volant.web.api.credentials import token_of
from volant.web.api.problem import KINDS, request_id
from volant.web.git import webhooks
from volant.web.git.service import BodyBroken, BodyTooLarge, Service, Threads, body_of, environment
from volant.web.git.verbs import Platform
from volant.web.serverlog import told

UPLOAD, RECEIVE = "upload-pack", "receive-pack"
ASKED_LIMIT = 64 << 20  # bytes of a fetch's question
_MORE = 1 << 20  # bytes of a push beside its pack
LONGEST_S = 3600.0
_NO_CACHE = {
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
}
_RIGHTS = {UPLOAD: Permission.CODESETS_READ, RECEIVE: Permission.CODESETS_PUSH}

_log = logging.getLogger("volant.web")


def routes(platform: Platform) -> Sequence[BaseRoute]:
    """What git asks for, and the webhooks of mirrors."""
    threads = Threads()
    at = "/git/{project}/{name}.git"
    return [
        Route(f"{at}/info/refs", partial(_refs, platform, threads), methods=["GET"]),
        *(
            Route(f"{at}/git-{service}", Exchange(platform, threads, service), methods=["POST"])
            for service in (UPLOAD, RECEIVE)
        ),
        *webhooks.routes(platform),
        Route("/git/{path:path}", _nothing, methods=["GET", "POST"]),
    ]


async def _nothing(request: Request) -> Response:
    return refused(
        NotFound(
            f"There is nothing at {request.url.path}.",
            "A codeset's address is /git/PROJECT/NAME.git, and git 1.6.6 or newer asks there.",
            code="no_such_route",
        )
    )


def refused(error: VolantError) -> Response:
    """An error that git shows to its user."""
    kind = type(error).code
    status = KINDS.get(kind, KINDS["error"])[0]
    headers = {"WWW-Authenticate": 'Basic realm="Volant"'} if status == 401 else {}
    return PlainTextResponse(f"{error.what}\n{error.fix}\n", status, headers)


def admit(platform: Platform, request: Request, permission: Permission) -> Principal:
    """Whose token came, if it may. Raises `Unauthenticated` or `PermissionDenied`."""
    token = token_of(request.headers.get("authorization", ""))
    if not token:
        raise Unauthenticated(
            "This codeset needs a token.",
            "Give any user name, and a Volant token as the password.",
        )
    principal = platform.access.authenticate(token)
    request.scope["volant.principal"] = principal
    here = platform.workbench.projects.within(request.path_params["project"], principal)
    platform.access.allow(here, permission)
    return principal


class Admitted:
    """A request that may do what it asks for: who, where, with how much."""

    def __init__(self, platform: Platform, request: Request, service: str) -> None:
        self.principal = admit(platform, request, _RIGHTS[service])
        codesets = platform.workbench.codesets
        self.project = str(request.path_params["project"])
        self.name = str(request.path_params["name"])
        self.repository: Repository = codesets.repository(self.project, self.name)
        codesets.get(self.project, self.name)
        self.limit = ASKED_LIMIT
        config: Mapping[str, str] = {}
        if service == RECEIVE:
            codesets.writable(self.project, self.name)
            room = codesets.room(self.project, self.name)
            self.limit = room + _MORE
            config = {"receive.maxInputSize": str(room)}
        protocol = request.headers.get("git-protocol", "")
        self.env = environment(codesets.git, protocol, config)
        self.second = service == UPLOAD and "version=2" in protocol


async def _refs(platform: Platform, threads: Threads, request: Request) -> Response:
    """What there is to fetch, or to push onto."""
    service = request.query_params.get("service", "").removeprefix("git-")
    if service not in _RIGHTS:
        return refused(
            InvalidInput(
                "Only git's smart protocol is spoken here.", "Use git 1.6.6 or newer.", code="dumb"
            )
        )

    def advertised() -> Response:
        try:
            asked = Admitted(platform, request, service)
            words = (service, "--stateless-rpc", "--advertise-refs", str(asked.repository.path))
            refs = platform.workbench.codesets.git.run(*words, env=asked.env)
        except VolantError as error:
            return refused(error)
        head = b"" if asked.second else _line(f"# service=git-{service}\n") + b"0000"
        kind = f"application/x-git-{service}-advertisement"
        return Response(head + refs, media_type=kind, headers=_NO_CACHE)

    return await to_thread.run_sync(advertised, limiter=threads.limiter)


def _line(text: str) -> bytes:
    """A line as git's protocol has them: its length first, in four hexadecimal digits."""
    data = text.encode()
    return f"{len(data) + 4:04x}".encode() + data


class Exchange:
    """One of git's two programs as an ASGI application."""

    def __init__(self, platform: Platform, threads: Threads, service: str) -> None:
        self._platform = platform
        self._threads = threads
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            asked = await to_thread.run_sync(
                Admitted, self._platform, request, self._service, limiter=self._threads.limiter
            )
        except VolantError as error:
            await self._audit(request, error.error_code)
            await refused(error)(scope, receive, send)
            return
        answer = _Answer(send, f"application/x-git-{self._service}-result")
        outcome = "failed"
        try:
            async with self._threads.places:
                outcome = await self._exchange(request, asked, receive, answer)
        finally:
            # Whatever became of the client: what git took is told of, once.
            with anyio.CancelScope(shield=True):
                if self._service == RECEIVE:
                    await to_thread.run_sync(self._settle, asked)
                    await self._audit(request, outcome)
        await answer.end()

    async def _exchange(
        self, request: Request, asked: Admitted, receive: Receive, answer: _Answer
    ) -> str:
        gzipped = request.headers.get("content-encoding", "") in ("gzip", "x-gzip")
        body = body_of(receive, gzipped=gzipped, limit=asked.limit)
        service = await to_thread.run_sync(
            Service, self._threads, asked.repository, self._service, asked.env
        )
        gone = receive if self._service == UPLOAD else None
        try:
            with anyio.fail_after(LONGEST_S):
                code = await service.converse(body, answer.send, gone)
        except BodyTooLarge:
            await answer.instead(413, f"More than {asked.limit} bytes came.\n")
            return "body_too_large"
        except BodyBroken as error:
            await answer.instead(400, f"The request can't be read: {error}.\n")
            return "body_broken"
        except TimeoutError:
            return "timeout"
        else:
            if code:
                _log.warning(
                    "git", extra=told(service=self._service, code=code, said=service.said())
                )
            return "failed" if code else "ok"
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(service.close, limiter=self._threads.limiter)

    def _settle(self, asked: Admitted) -> None:
        codesets = self._platform.workbench.codesets
        try:
            codesets.pushes.settle(asked.project, asked.name, asked.principal.name)
        except VolantError as error:  # the watcher tries again
            _log.error(
                "push not stored",
                extra=told(codeset=f"{asked.project}/{asked.name}", error=str(error)),
            )

    async def _audit(self, request: Request, outcome: str) -> None:
        principal: Principal | None = request.scope.get("volant.principal")
        if self._service != RECEIVE or principal is None:
            return
        subject = "codeset/{project}/{name}".format_map(request.path_params)
        entry = (principal.name, "codesets.push", subject, outcome, request_id(request))
        with contextlib.suppress(VolantError):
            await to_thread.run_sync(self._platform.access.note, *entry)


class _Answer:
    """An answer whose head goes out with its first byte, so that until then it can still
    become another one."""

    def __init__(self, send: Send, kind: str) -> None:
        self._send = send
        self._kind = kind
        self._status = 0

    async def send(self, message: Message) -> None:
        await self._begin(200, self._kind)
        await self._send(message)

    async def instead(self, status: int, text: str) -> None:
        """Say that it went wrong, if nothing was said yet."""
        if not self._status:
            await self._begin(status, "text/plain; charset=utf-8")
            await self._send(
                {"type": "http.response.body", "body": text.encode(), "more_body": True}
            )

    async def end(self) -> None:
        await self._begin(200, self._kind)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, status: int, kind: str) -> None:
        if self._status:
            return
        self._status = status
        fields = {"Content-Type": kind, **_NO_CACHE}
        headers = [(key.lower().encode(), value.encode()) for key, value in fields.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
