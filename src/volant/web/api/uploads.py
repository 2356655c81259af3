"""Files that come as a request's body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Query, Request
from pydantic import BaseModel

T = TypeVar("T")

BLOCK = 1 << 18  # bytes handed to the room at once

Filename = Annotated[str, Query(min_length=1, max_length=255)]
# What OpenAPI can't see of a route that reads its body itself.
BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes as they are.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Upload(BaseModel):
    """A file that lies in staging and waits for a push."""

    id: str
    filename: str
    bytes: int
    sha256: str


async def received(
    request: Request, limiter: CapacityLimiter, take: Callable[[Iterator[bytes]], object]
) -> Upload:
    """`streamed`, for what goes into staging."""
    return Upload.model_validate(await streamed(request, limiter, take))


async def streamed(
    request: Request, limiter: CapacityLimiter, take: Callable[[Iterator[bytes]], T]
) -> T:
    """What `take` makes of the body's blocks, in a thread. No more than a block of it is
    ever in memory."""

    def receive() -> T:
        return take(_pulled(_blocks_of(request.stream())))

    return await to_thread.run_sync(receive, limiter=limiter)


async def _blocks_of(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in blocks of about `BLOCK` bytes, so that few hops between threads do."""
    held: list[bytes] = []
    size = 0
    async for chunk in stream:
        held.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _pulled(blocks: AsyncIterator[bytes]) -> Iterator[bytes]:
    """Blocks for a room in a worker thread: it pulls, so the socket waits for the disk."""

    async def following() -> bytes:
        return await anext(blocks, b"")

    while block := from_thread.run(following):
        yield block
