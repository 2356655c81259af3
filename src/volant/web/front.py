"""What every request meets first: the doors that answer at once, or the API, which is built
when it is first asked for. FastAPI and its hundred and fifty routes take a third of a start's
time and a sixth of its memory, and a server that only tracks needs none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from volant import __version__
from volant.web.api.edge import Edge


class Front:
    """An ASGI application.

    Args:
        doors: Routes that are answered without the API. What none of them takes, with its
            method, is the API's.
        api: Builds the API; called once, in a thread, at the first request for it.
        hosts: Names that a request's Host header may carry, None for any.
    """

    def __init__(
        self, doors: Sequence[BaseRoute], api: Callable[[], ASGIApp], hosts: Collection[str] | None
    ) -> None:
        # Whoever only asks whether the server lives needn't wait for the API either.
        health = Route("/api/v1/health", _health, methods=["GET"])
        self._doors = [(door, Edge(door.handle, hosts)) for door in (health, *doors)]
        self._build = api
        self._api: ASGIApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for door, edge in self._doors:
                match, more = door.matches(scope)
                if match is Match.FULL:
                    scope.update(more)
                    await edge(scope, receive, send)
                    return
        api = self._api or await self._built()
        await api(scope, receive, send)

    async def _built(self) -> ASGIApp:
        """The first requests wait for it."""
        async with self._building:
            if self._api is None:
                self._api = await to_thread.run_sync(self._build)
        return self._api


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})
