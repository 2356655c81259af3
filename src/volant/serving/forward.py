"""Requests to another revision's replicas: HTTP/1.1 over their Unix socket.

Connections are kept and reused, each with one request at a time. Whatever goes wrong
before there is a whole answer is `Unreachable`; the caller may then answer itself, as a
prediction can be asked for twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httptools

from volant.serving.apology import APOLOGY_HEADER
from volant.serving.limits import ForwardLimits

# Of one connection only (RFC 9110, 7.6.1), or written anew.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_APOLOGY = APOLOGY_HEADER.encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `content_type` and `headers` are complete lines."""

    status: int
    content_type: bytes
    headers: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody answered, for this reason."""

    reason: str


Done = Callable[[Reply | Unreachable], None]


def request_bytes(
    method: bytes, path: bytes, headers: Mapping[bytes, bytes], body: bytes, extra: bytes = b""
) -> bytes:
    """A request as it is sent on. `extra` are complete header lines."""
    lines = [b"%s %s HTTP/1.1\r\n" % (method, path)]
    lines += [b"%s: %s\r\n" % h for h in headers.items() if h[0] not in _HOP_BY_HOP]
    if b"host" not in headers:
        lines.append(b"host: volant\r\n")
    lines.append(b"%scontent-length: %d\r\n\r\n" % (extra, len(body)))
    lines.append(body)
    return b"".join(lines)


class Call:
    """One request under way."""

    __slots__ = ("done", "peer", "request", "retried", "started")

    def __init__(self, request: bytes, done: Done | None, now: float) -> None:
        self.request = request
        self.done = done
        self.started = now
        self.peer: _Peer | None = None
        self.retried = False

    def cancel(self) -> None:
        """Nobody wants the answer any more. Its replica is told by the closed
        connection, and skips what it hasn't begun."""
        self.done = None
        if self.peer is not None:
            self.peer.abort()

    def finish(self, outcome: Reply | Unreachable) -> None:
        """Tell the caller, once."""
        done, self.done = self.done, None
        self.peer = None
        if done is not None:
            done(outcome)


class Forwarder:
    """Requests to one Unix socket."""

    def __init__(
        self, path: str, loop: asyncio.AbstractEventLoop, limits: ForwardLimits | None = None
    ) -> None:
        self._path = path
        self._loop = loop
        self._limits = limits or ForwardLimits()
        self._peers: set[_Peer] = set()
        self._free: list[_Peer] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Call] = deque()
        self._closing = False
        self._sweeper: asyncio.TimerHandle | None = None

    def send(self, request: bytes, done: Done) -> Call:
        """`done` is called on the loop, once, unless the call is cancelled."""
        call = Call(request, done, self._loop.time())
        self._start(call)
        return call

    def close(self) -> None:
        """What is under way goes on to its end; nothing more is kept."""
        self._closing = True
        for peer in self._free:
            peer.abort()
        self._free.clear()

    def _start(self, call: Call) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._limits.sweep_s, self._sweep)
        if self._free:
            self._free.pop().send(call)
        elif len(self._peers) + len(self._opening) < self._limits.connections:
            task = self._loop.create_task(self._open(call))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        elif len(self._waiting) < self._limits.waiting:
            self._waiting.append(call)
        else:
            call.finish(Unreachable(f"{len(self._waiting)} requests wait for it already"))

    async def _open(self, call: Call) -> None:
        try:
            _, peer = await asyncio.wait_for(
                self._loop.create_unix_connection(lambda: _Peer(self), self._path),
                self._limits.connect_s,
            )
        except (OSError, TimeoutError) as error:
            call.finish(Unreachable(f"its socket can't be reached ({type(error).__name__})"))
            self._fail_waiting()
            return
        self._peers.add(peer)
        if call.done is None:  # cancelled meanwhile
            self.freed(peer)
        else:
            peer.send(call)

    def _fail_waiting(self) -> None:
        if self._peers:
            return  # they go on with what waits
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.finish(Unreachable("its socket can't be reached"))

    def _sweep(self) -> None:
        """Give up what takes too long."""
        self._sweeper = None
        oldest = self._loop.time() - self._limits.answer_s
        for peer in list(self._peers):
            if peer.call is not None and peer.call.started < oldest:
                peer.call.retried = True
                peer.abort(f"it didn't answer within {self._limits.answer_s:g} s")
        while self._waiting and self._waiting[0].started < oldest:
            self._waiting.popleft().finish(Unreachable("it is too busy"))
        if self._waiting or self._opening or any(p.call is not None for p in self._peers):
            self._sweeper = self._loop.call_later(self._limits.sweep_s, self._sweep)

    # what peers say

    def freed(self, peer: _Peer) -> None:
        """It has its answer, and may have the next request."""
        while self._waiting:
            call = self._waiting.popleft()
            if call.done is not None:
                peer.send(call)
                return
        if self._closing:
            peer.abort()
        else:
            self._free.append(peer)

    def gone(self, peer: _Peer, call: Call | None, reason: str) -> None:
        """Its connection has ended, with `call` unanswered."""
        self._peers.discard(peer)
        with contextlib.suppress(ValueError):
            self._free.remove(peer)
        if call is not None and call.done is not None:
            if peer.used and not call.retried:
                # A kept connection that ended just then says nothing of the others.
                call.retried = True
                self._start(call)
            else:
                call.finish(Unreachable(reason))
        while self._waiting and len(self._peers) + len(self._opening) < self._limits.connections:
            self._start(self._waiting.popleft())


class _Peer(asyncio.Protocol):
    """One connection: the calls on it one after the other."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.call: Call | None = None
        self.used = False  # it has brought an answer before
        self._forwarder = forwarder
        self._transport: asyncio.Transport | None = None
        self._reason = "the connection ended before its answer"
        self._parser = httptools.HttpResponseParser(self)
        self._content_type = b""
        self._headers: list[bytes] = []
        self._body: list[bytes] = []
        self._apology = False

    def send(self, call: Call) -> None:
        """Ask; the peer is free."""
        self.call = call
        call.peer = self
        if self._transport is None:
            self._end()
        else:
            self._transport.write(call.request)

    def abort(self, reason: str | None = None) -> None:
        """End the connection now."""
        if reason is not None:
            self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end()

    def _end(self) -> None:
        call, self.call = self.call, None
        self._forwarder.gone(self, call, self._reason)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.abort(f"its answer isn't HTTP/1.1 ({type(error).__name__})")

    # httptools' side

    def on_message_begin(self) -> None:
        self._content_type = b""
        self._headers = []
        self._body = []
        self._apology = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._content_type = b"content-type: %s\r\n" % value
        elif name == _APOLOGY:
            self._apology = True
        elif name not in _HOP_BY_HOP:
            self._headers.append(b"%s: %s\r\n" % (name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        call, self.call = self.call, None
        if status < 200 or call is None:  # nobody asked for that
            self.abort()
            return
        outcome: Reply | Unreachable = Reply(
            status, self._content_type, b"".join(self._headers), b"".join(self._body)
        )
        if self._apology:
            outcome = Unreachable("none of its replicas can be started")
        self.used = True
        if self._parser.should_keep_alive():
            self._forwarder.freed(self)
        else:
            self.abort()
        call.finish(outcome)
