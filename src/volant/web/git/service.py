"""One git program behind one request: its body goes in, its answer comes out, piece by
piece and both at once, so that neither side waits for all of the other."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.types import Receive, Send

from volant.codesets.git import Git, stop
from volant.codesets.repository import Repository

PIECE = 1 << 16
MAX_SERVICES = 16  # git programs side by side; others wait
_PROTOCOL = re.compile(r"[a-z0-9=:.-]{1,100}")
_TAIL = 2000  # bytes of what git said on standard error


class BodyTooLarge(Exception):
    """More bytes came than may."""


class BodyBroken(Exception):
    """The body isn't what its headers say, or ended before its end."""


class _Unpacker(Protocol):
    """As zlib makes them."""

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class Threads:
    """Where git programs are read and written: their pipes block, so they have threads of
    their own. Made at the first request, in its event loop."""

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None
        self._places: anyio.Semaphore | None = None

    @property
    def limiter(self) -> CapacityLimiter:
        if self._limiter is None:
            self._limiter = CapacityLimiter(3 * MAX_SERVICES)
        return self._limiter

    @property
    def places(self) -> anyio.Semaphore:
        if self._places is None:
            self._places = anyio.Semaphore(MAX_SERVICES)
        return self._places


async def body_of(receive: Receive, *, gzipped: bool, limit: int) -> AsyncIterator[bytes]:
    """The request's body, unpacked. Raises `BodyTooLarge` after `limit` bytes, packed or
    not, and `BodyBroken` when the client goes or the gzip ends early."""
    unpacker = zlib.decompressobj(wbits=31) if gzipped else None
    size = 0
    async for chunk in _chunks(receive):
        for piece in (chunk,) if unpacker is None else _unpacked(unpacker, chunk):
            size += len(piece)
            if size > limit:
                raise BodyTooLarge
            yield piece
    if unpacker is not None and not unpacker.eof:
        raise BodyBroken("the gzip ends before its end")


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyBroken("the client went")
        chunk = message.get("body", b"")
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


def _unpacked(unpacker: _Unpacker, chunk: bytes) -> Iterator[bytes]:
    """What a chunk unfolds to, in pieces, however much that is."""
    try:
        while chunk:
            piece = unpacker.decompress(chunk, PIECE)
            if piece:
                yield piece
            chunk = unpacker.unconsumed_tail
    except zlib.error as error:
        raise BodyBroken(f"the gzip can't be read: {error}") from None


def environment(git: Git, protocol: str, config: Mapping[str, str]) -> dict[str, str]:
    """git's environment for a client that speaks `protocol` (its header Git-Protocol)."""
    more = {"GIT_PROTOCOL": protocol} if _PROTOCOL.fullmatch(protocol) else {}
    return git.environment(config, more=more)


class Service:
    """`git upload-pack` or `git receive-pack` on one repository, to be closed.

    Args:
        threads: Where it blocks.
        repository: On what.
        name: `upload-pack` or `receive-pack`.
        env: All that it sees.
    """

    def __init__(
        self,
        threads: Threads,
        repository: Repository,
        name: str,
        env: Mapping[str, str],
    ) -> None:
        self._limiter = threads.limiter
        self._fed = anyio.Event()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`
        words = (name, "--stateless-rpc", str(repository.path))
        self._process = repository.git.start(
            words, env=env, stdin=subprocess.PIPE, stderr=self._said
        )

    async def converse(self, body: AsyncIterator[bytes], send: Send, gone: Receive | None) -> int:
        """Its exit code, once it has had all of `body` and `send` has had all of its answer.

        What `body` raises is raised when the program has ended: it sees its input end too
        early then, takes nothing of it, and tidies up behind itself. `gone`, where it is
        given, returns when nobody is left to read the answer, which ends the program.
        """
        broken: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._feed, body, broken)
            watch = anyio.CancelScope()
            if gone is not None:
                tasks.start_soon(self._leave, gone, watch)
            await self._answer(send)
            watch.cancel()
        code = await to_thread.run_sync(self._process.wait, limiter=self._limiter)
        if broken:
            raise broken[0]
        return code

    async def _feed(self, body: AsyncIterator[bytes], broken: list[Exception]) -> None:
        into = self._process.stdin
        assert into is not None
        try:
            async for piece in body:
                await to_thread.run_sync(into.write, piece, limiter=self._limiter)
        except BrokenPipeError:
            await self._hear_out(body)  # it has ended and says why
        except (BodyBroken, BodyTooLarge) as error:
            broken.append(error)
        finally:
            with contextlib.suppress(OSError):
                into.close()
            self._fed.set()

    @staticmethod
    async def _hear_out(body: AsyncIterator[bytes]) -> None:
        """Read what is left: a client that still sends doesn't listen."""
        with contextlib.suppress(BodyBroken, BodyTooLarge):
            async for _ in body:
                pass

    async def _answer(self, send: Send) -> None:
        out = self._process.stdout
        assert out is not None
        while piece := await to_thread.run_sync(
            os.read, out.fileno(), PIECE, limiter=self._limiter
        ):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _leave(self, gone: Receive, watch: anyio.CancelScope) -> None:
        await self._fed.wait()  # until then the body has the connection's messages
        with watch:
            while (await gone())["type"] != "http.disconnect":
                pass
            stop(self._process)

    def said(self) -> str:
        """What it said on standard error."""
        self._said.seek(0)
        return self._said.read(_TAIL).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Let go of its pipes, which ends it if it hasn't ended."""
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
            return
        stop(self._process)
