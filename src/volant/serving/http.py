"""HTTP/1.1 for one purpose: an `asyncio.Protocol` on httptools (llhttp).

A connection parses, an `Exchange` is one request and its answer, `HttpServer` holds
what they share: limits, counters, the set of connections, accepting and draining.
Answers leave in the order of their requests, however they were computed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

import httptools

from volant.serving.exchange import Exchange
from volant.serving.heads import Head
from volant.serving.refusal import Refusal

if TYPE_CHECKING:
    from volant.serving.http_server import HttpServer

_LINE = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
SHADOW_HEADER = b"x-volant-shadow"  # marks a copy; only other replicas may say it
_NO_TUNNEL = b"allow: GET, HEAD, POST, OPTIONS\r\n"
_ONCE = frozenset(
    {b"host", b"authorization", b"content-type", b"inference-header-content-length", b"expect"}
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4
_HOP = frozenset({b"upgrade", b"connection", b"http2-settings"})
_NO_PARSER = httptools.HttpRequestParser(object())  # of a connection that has ended


class Connection(asyncio.Protocol):
    """One client. Phases: idle, head, body, then waiting for answers."""

    __slots__ = (
        "_begun",
        "_body",
        "_body_bytes",
        "_deaf",
        "_fed",
        "_first",
        "_head_bytes",
        "_headers",
        "_held",
        "_in_chunk",
        "_in_head",
        "_loop",
        "_parser",
        "_paused",
        "_pending",
        "_reading",
        "_server",
        "_since",
        "_stalled_since",
        "_transport",
        "_upgrade",
        "_url",
        "_whole",
        "internal",
        "peer",
    )

    def __init__(self, server: HttpServer, *, internal: bool = False) -> None:
        self._server = server
        self.internal = internal
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._pending: deque[Exchange] = deque()
        self._reading = False  # a request has begun and isn't complete
        self._in_head = False
        self._in_chunk = False  # behind a chunk's size, of which the last has trailers
        self._deaf = False  # no more requests are read; the end is near
        self._paused = False
        self._upgrade = False
        self._first: bytes | None = b""  # what may be the beginning of HTTP/2
        self._since = server.loop.time()
        self._stalled_since: float | None = None
        self._head_bytes = 0
        self._fed = 0  # bytes that the parser has now
        self._begun = 0  # bytes among whose last this head began
        self._body_bytes = 0
        self._body: list[bytes] = []
        self._held = 0  # of a body that isn't complete, as the server counts it
        self._url = b""
        self._whole: bytes | None = None  # what the parser has, if a request begins it
        self._headers: dict[bytes, bytes] = {}
        self._parser = httptools.HttpRequestParser(self)
        self.peer = ""  # the client's address, without its port

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._deaf = True
        if self._held:
            self._hold()
        for exchange in self._pending:
            if exchange.response is None:
                self._server.abandoned(exchange)
                exchange.give_up()
        self._pending.clear()
        self._release()
        self._server.gone(self)

    def _release(self) -> None:
        """Let go of what was read: the parser refers to this connection and this to it, and
        the collector comes seldom enough for many bodies to lie here until then."""
        self._parser = _NO_PARSER
        self._body = []
        self._headers = {}

    def eof_received(self) -> bool:
        """A client that only half-closed still gets its answers."""
        self._deaf = True
        if self._pending:
            self._pending[-1].keep_alive = False
            return True
        return False

    def pause_writing(self) -> None:
        self._stalled_since = self._loop.time()
        self._pause()

    def resume_writing(self) -> None:
        self._stalled_since = None
        self._resume()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._first is not None:
            data = self._first + data
            if not self._is_http1(data):
                return
        if not self._reading:
            known = self._server.heads.find(data)
            if known is not None:
                self._begin_known(*known)
                return
            self._whole = data
        was_in_head, body_bytes = self._in_head or self._in_chunk, self._body_bytes
        self._fed = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._deaf:  # else what came before in `data` was the last already
                self._reject(Refusal(400, f"Expected HTTP/1.1, got bytes that aren't: {error}."))
        self._whole = None
        if self._reading or self._held:
            self._hold()
        still = self._in_head or (self._in_chunk and self._body_bytes == body_bytes)
        if not was_in_head and self._in_head:
            self._begun = len(data)
        if was_in_head and still and not self._deaf:
            # In the head or in trailers: a line without an end is counted nowhere else.
            self._head_bytes += len(data)
            self._check_head()

    def _is_http1(self, data: bytes) -> bool:
        """Whether it is, by its first bytes. HTTP/2 is handed over; when they are too few
        to tell, more is awaited as of a head."""
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._first = data
            self._reading = self._in_head = True
            return False
        self._first = None
        self._reading = self._in_head = False
        if not data.startswith(PREFACE):
            return True
        from volant.serving.grpc import GrpcConnection  # only who is asked pays for it

        transport, server = self._transport, self._server
        self._transport, self._deaf = None, True
        if transport is not None:
            self._release()
            connection = GrpcConnection(server, internal=self.internal, peer=self.peer)
            server.connections.add(connection)
            server.connections.discard(self)
            connection.take_over(transport, data[len(PREFACE) :])
        return False

    def _hold(self) -> None:
        """Let the server know what waits here for the rest of its body."""
        server = self._server
        held = self._body_bytes if self._reading and not self._deaf else 0
        server.held_bytes += held - self._held
        self._held = held
        if held and server.held_bytes > server.limits.held_bytes:
            self._reject(
                Refusal(
                    503,
                    f"Too busy: unfinished bodies of {server.held_bytes} bytes wait already "
                    f"(at most {server.limits.held_bytes}). Try again in a second.",
                    b"retry-after: 1\r\n",
                )
            )
            self._hold()

    # httptools' side

    def on_message_begin(self) -> None:
        self._reading = True
        self._in_head = True
        self._in_chunk = False
        self._since = self._loop.time()
        self._head_bytes = self._begun = 0
        self._body_bytes = 0
        self._url = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailer(len(name) + len(value))
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            value = self._twice(name, headers[name], value)
        headers[name] = value

    def _twice(self, name: bytes, first: bytes, value: bytes) -> bytes:
        """Lines of one name are a list (RFC 9110, 5.3), but for those that are none."""
        if self._deaf:
            return value
        if name in _ONCE:
            self._reject(Refusal(400, f"Header {name.decode()}: expected once, got twice."))
        self._head_bytes += len(value)
        if self._head_bytes > self._server.limits.head_bytes:
            self._check_head()
        return first + b", " + value

    def on_chunk_header(self) -> None:
        self._in_chunk = True

    def on_chunk_complete(self) -> None:
        self._in_chunk = False

    def _trailer(self, size: int) -> None:
        """A field behind the body: nothing is said there that counts (RFC 9110, 6.5.1),
        but there are bounds on how much."""
        self._head_bytes += size
        if not self._deaf and self._head_bytes > self._server.limits.head_bytes:
            self._check_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf:
            return
        headers, limits = self._headers, self._server.limits
        came = self._begun + self._head_bytes + self._fed
        if came > limits.head_bytes or len(headers) > limits.headers:
            # What came may be more than the head.
            sizes = sum(map(len, headers)) + sum(map(len, headers.values()))
            self._head_bytes = len(self._url) + sizes
            self._check_head()
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._server.limits.body_bytes:
            self._too_large(int(length))
        expect = headers.get(b"expect")
        if expect is not None and not self._deaf:
            self._expected(expect)

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._server.limits.body_bytes:
            self._too_large(self._body_bytes)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        parser = self._parser
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            self._upgrade = True  # the rest of the request comes through data_received
            return
        exchange = Exchange(self, method, self._url)
        exchange.headers = self._headers
        body = self._body
        if body:
            exchange.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
        exchange.keep_alive = parser.should_keep_alive()
        if method == b"CONNECT":  # what follows would be a tunnel's
            self._reject(Refusal(405, "Method: expected no tunnel, got CONNECT.", _NO_TUNNEL))
            return
        if b"host" not in self._headers:
            exchange.old_client = parser.get_http_version() == "1.0"
            if not exchange.old_client:
                self._reject(Refusal(400, "Expected a Host header, got none."))
                return
        if not exchange.keep_alive:
            self._deaf = True
        elif self._whole is not None and not exchange.old_client:
            self._server.heads.keep(self._whole, method, self._url, self._headers)
        self._begin(exchange)

    # a request's life

    def _begin_known(self, head: Head, body: bytes) -> None:
        exchange = Exchange(self, head.method, head.url)
        exchange.headers = head.headers
        exchange.body = body
        self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        server = self._server
        self._reading = False
        exchange.started = perf_counter()
        if self.internal:
            exchange.copy = SHADOW_HEADER in exchange.headers
        self._pending.append(exchange)
        server.began(exchange)
        if len(self._pending) >= server.limits.pipelined:
            self._pause()
        try:
            server.handle(exchange)
        except Exception as error:
            server.broke(exchange, error)

    def answered(self, exchange: Exchange) -> None:
        """Called by the exchange when its response is set."""
        if self._transport is None:
            return
        self._server.count(exchange)
        pending = self._pending
        if pending[0] is not exchange:
            return
        chunks: list[bytes] = []
        last = False
        while pending and pending[0].response is not None and not last:
            done = pending.popleft()
            last = self._is_last(done)
            chunks.append(self._head(done, last))
            if done.method != b"HEAD":
                chunks.append(done.response[1])  # type: ignore[index]
        self._transport.write(b"".join(chunks))
        if last:
            self._finish()
            return
        if not pending:
            self._since = self._loop.time()
            self._resume()

    def _is_last(self, exchange: Exchange) -> bool:
        """Whether the connection ends with this answer: the client asked so, or this
        replica is leaving and the client has asked for nothing more."""
        if not exchange.keep_alive:
            return True
        if self._pending or self._reading:
            return False
        return self._deaf or self._server.wants_close()

    def _head(self, exchange: Exchange, last: bool) -> bytes:
        status, body, headers = exchange.response  # type: ignore[misc]
        keep = b""
        if last:
            keep = b"connection: close\r\n"
        elif exchange.old_client:
            keep = b"connection: keep-alive\r\n"
        return b"%s%s%s%s%s%scontent-length: %d\r\n\r\n" % (
            _LINE[status],
            self._server.date,
            exchange.content_type,
            exchange.mark,
            headers,
            keep,
            len(body),
        )

    def _finish(self) -> None:
        """Close after the last answer: write side first, so that a client that is still
        sending reads the answer and no reset."""
        self._deaf = True
        self._since = self._loop.time()
        transport = self._transport
        if transport is None:
            return
        if not self._reading and not self._paused:
            transport.close()
            return
        self._reading = False
        if transport.can_write_eof():
            transport.write_eof()
        self._resume()
        self._loop.call_later(self._server.limits.linger_s, self._abandon)

    def _abandon(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # refusals before there is a whole request

    def _reject(self, refusal: Refusal) -> None:
        """Answer after what is pending, then close; nothing more is read."""
        exchange = Exchange(self, b"?", self._url)
        exchange.headers = self._headers
        exchange.keep_alive = False
        self._deaf = True
        server = self._server
        self._pending.append(exchange)
        # The loop's clock is this one, only coarser.
        exchange.started = self._since
        server.began(exchange)
        self._reading = True  # unread bytes may be under way: linger
        self._body = []
        exchange.refuse(refusal)

    def _too_large(self, size: int) -> None:
        limit = self._server.limits.body_bytes
        self._reject(Refusal(413, f"The body: expected at most {limit} bytes, got {size} or more."))

    def _check_head(self) -> None:
        limits = self._server.limits
        if self._head_bytes > limits.head_bytes or len(self._headers) > limits.headers:
            self._reject(
                Refusal(
                    431,
                    f"The head: expected at most {limits.head_bytes} bytes in {limits.headers} "
                    f"headers, got {self._head_bytes} in {len(self._headers)}.",
                )
            )

    def _expected(self, expect: bytes) -> None:
        if expect.lower() != b"100-continue":
            text = expect.decode("latin-1")[:60]
            self._reject(Refusal(417, f'Expect: expected "100-continue", got "{text}".'))
        elif not self._pending and self._transport is not None and self._body_bytes == 0:
            # With answers still to come a 100 would be read as one of them; the client
            # then sends its body after its own short wait, as RFC 9110, 10.1.1 says.
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _without_upgrade(self, rest: bytes) -> None:
        """Some clients offer HTTP/2 on every first request. It is refused by ignoring
        it: the same head again without the offer, so that the body is read as a body."""
        if self._deaf or not self._upgrade:
            return
        self._upgrade = False
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%s: %s" % h for h in self._headers.items() if h[0] not in _HOP]
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # flow

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and self._stalled_since is None:
            self._paused = False
            self._transport.resume_reading()

    def sweep(self, now: float, idle_s: float, idle_since: float) -> None:
        """Once a second: end what took too long. `idle_since` is the earliest time that
        an idle connection counts from."""
        limits = self._server.limits
        if self._stalled_since is not None and now - self._stalled_since > limits.write_s:
            self._abandon()
        elif self._deaf or self._transport is None:
            if not self._pending and now - self._since > limits.write_s:
                self._abandon()
        elif self._reading:
            limit = limits.head_s if self._in_head else limits.body_s
            if now - self._since > limit:
                part = "headers" if self._in_head else "body"
                self._reject(Refusal(408, f"Expected the whole {part} within {limit:g} s."))
        elif not self._pending and now - max(self._since, idle_since) > idle_s:
            self._deaf = True
            self._transport.close()
