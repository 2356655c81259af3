"""A deployment's numbers over time, and its log."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from volant.web.api.guard import needs
from volant.web.api.routing import router
from volant.web.api.verbs import Monitoring, Platform

_LOOK_S = 0.25
_BEAT_S = 15.0

Lines = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[str | None, Query(max_length=100)]


def routes(platform: Platform) -> APIRouter:
    """`/deployments/{name}/history` and `/deployments/{name}/logs`."""
    api = router("deployments")
    monitoring = platform.monitoring
    reads = [needs("deployments.read")]

    @api.get("/deployments/{name}/history", dependencies=reads, summary="Minute by minute")
    def deployments_history(
        name: str,
        since: datetime | None = None,
        step: Annotated[int | None, Query(description="Seconds, whole minutes.")] = None,
    ) -> dict[str, Any]:
        """Requests, errors, latencies, memory and processor time since then (an hour when
        it is left out), for each step in which something happened. Kept for 30 days."""
        return dict(monitoring.history(name, since, step))

    @api.get("/deployments/{name}/logs", dependencies=reads, summary="What its replicas wrote")
    def deployments_logs(name: str, limit: Lines = 100, after: Place = None) -> dict[str, Any]:
        """The newest lines; with `after`, the place that an answer gave, the next ones."""
        return dict(monitoring.log(name, limit, after))

    @api.get(
        "/deployments/{name}/logs/stream",
        dependencies=reads,
        summary="What its replicas write, as it comes",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    def deployments_logs_stream(
        request: Request, name: str, limit: Lines = 100, after: Place = None
    ) -> StreamingResponse:
        """Server-sent events: each has one line as JSON, and as its id the place after it."""
        first = monitoring.log(name, limit, after)
        leaving = getattr(request.app.state, "leaving", lambda: False)
        events = _events(monitoring, name, first, leaving)
        return StreamingResponse(events, media_type="text/event-stream")

    return api


async def _events(
    monitoring: Monitoring, name: str, found: Any, leaving: Callable[[], bool]
) -> AsyncIterator[str]:
    """Waits without a thread, so that many may follow."""
    told = time.monotonic()
    yield ": a comment now and then shows that the log is still followed\n\n"
    while not leaving():
        place = found["after"]
        for line in found["lines"]:
            yield f"id: {place}\ndata: {json.dumps(line, ensure_ascii=False)}\n\n"
        if found["lines"]:
            told = time.monotonic()
        else:
            if time.monotonic() - told >= _BEAT_S:
                told = time.monotonic()
                yield ":\n\n"
            await anyio.sleep(_LOOK_S)
        found = await to_thread.run_sync(monitoring.log, name, 1000, place)
