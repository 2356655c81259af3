"""What the HTTP connections of one replica share: limits, counters, accepting, draining."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import traceback
from collections.abc import Callable
from email.utils import formatdate
from time import perf_counter
from typing import Any, Protocol

from volant.serving.counter_map import IN_FLIGHT
from volant.serving.counters import Counters
from volant.serving.heads import Heads
from volant.serving.http import Connection, Exchange
from volant.serving.limits import HttpLimits
from volant.serving.refusal import Refusal

_ACCEPTS_A_TURN = 16  # connections taken at one wake-up: the other replicas want some too
_LOGGED_A_SECOND = 20
_ID, _ID_BYTES = b"x-request-id: %s\r\n", 128

Handler = Callable[[Exchange], None]
Call = Callable[[str, Exchange, Callable[[Any], None]], None]  # see `grpc_call.Rpc`


def _not_found(exchange: Exchange) -> None:
    exchange.refuse(Refusal(404, "Nothing is served here."))


def _not_known(method: str, exchange: Exchange, respond: Callable[[Any], None]) -> None:
    exchange.refuse(Refusal(501, "Nothing is served here."))


class Guest(Protocol):
    """A connection, whatever it speaks."""

    def sweep(self, now: float, idle_s: float, idle_since: float) -> None: ...


class HttpServer:
    """What the connections of one process share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: HttpLimits,
        log: Callable[[dict[str, Any]], None],
        counters: Counters | None = None,
    ) -> None:
        self.loop = loop
        self.handle: Handler = _not_found  # set before `accept_on`
        self.limits = limits
        self.counters = counters or Counters.private()
        self.connections: set[Guest] = set()
        self.call: Call = _not_known  # a gRPC call: its method, its exchange, its reply
        self.requests = 0
        self.refused = 0  # 4xx
        self.errors = 0  # 5xx
        self.in_flight = 0
        self.peak_in_flight = 0
        self.heads = Heads()
        self.date = b""
        self.empty = asyncio.Event()
        self._log = log
        self._logged = 0
        self._instance = secrets.token_hex(4).encode()
        self._ids = itertools.count(1)
        self.held_bytes = 0  # of bodies that aren't complete yet
        self.passed_on = 0  # requests that another replica answered
        self._sockets: list[socket.socket] = []
        self._draining_since: float | None = None
        self._drain_idle_s = 0.0
        self._shed = 0
        self._making: set[asyncio.Task[Any]] = set()
        self._tick()

    # accepting

    def accept_on(self, listening: socket.socket) -> None:
        """Take connections from a socket that other processes listen on as well. There
        may be several; what comes over a Unix socket is internal."""
        self._sockets.append(listening)
        self.loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        if listening not in self._sockets:
            return
        internal = listening.family == socket.AF_UNIX
        for _ in range(_ACCEPTS_A_TURN):
            if len(self.connections) + len(self._making) >= self.limits.connections:
                self._rest(listening, 0.05)
                return
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors, no memory: the kernel's queue keeps them
                self._rest(listening, 0.1)
                return
            accepted.setblocking(False)
            if not internal:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self.loop.create_task(self._connect(accepted, internal=internal))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _connect(self, accepted: socket.socket, *, internal: bool) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self, internal=internal), accepted
            )
        except OSError:  # gone before it was served
            accepted.close()

    def _rest(self, listening: socket.socket, seconds: float) -> None:
        self.loop.remove_reader(listening.fileno())

        def again() -> None:
            if listening in self._sockets:
                self.loop.add_reader(listening.fileno(), self._accept, listening)

        self.loop.call_later(seconds, again)

    def stop_accepting(self) -> None:
        """Leave the listening sockets to the others; what waits in them stays there. Only
        this process's descriptors are closed: `shutdown` would end the sockets for all."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self.loop.remove_reader(listening.fileno())
            listening.close()

    # leaving

    def drain(self, idle_s: float) -> None:
        """Accept no more, end each connection with its next answer, and those that stay
        idle for `idle_s` more seconds. `empty` is set when none is left."""
        self.stop_accepting()
        if self._draining_since is not None:
            self._drain_idle_s = min(self._drain_idle_s, idle_s)
            return
        self._draining_since = self.loop.time()
        self._drain_idle_s = idle_s
        self._drain_tick()

    def close(self) -> None:
        """End the housekeeping; call it when it is empty."""
        self._timer.cancel()

    def _drain_tick(self) -> None:
        self.sweep()
        self._check_empty()
        if not self.empty.is_set():
            self.loop.call_later(0.05, self._drain_tick)

    @property
    def draining(self) -> bool:
        return self._draining_since is not None

    def shed(self, connections: int) -> None:
        """End that many kept connections with their next answer, so that their clients
        come back and a new replica gets its share."""
        self._shed = min(connections, len(self.connections))

    def wants_close(self) -> bool:
        """Whether the connection that asks should end with this answer."""
        if self._draining_since is not None:
            return True
        if self._shed > 0:
            self._shed -= 1
            return True
        return False

    def gone(self, connection: Guest) -> None:
        self.connections.discard(connection)
        self._check_empty()

    def _check_empty(self) -> None:
        if self._draining_since is not None and not self.connections and not self._making:
            self.empty.set()

    # bookkeeping

    def began(self, exchange: Exchange) -> None:
        """A request is here as a whole, or is refused before."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.counters.set(IN_FLIGHT, self.in_flight)
        exchange.waits = self.counters.waits(exchange.started)

    def away(self, exchange: Exchange) -> None:
        """Another revision shall answer it: how long that takes says nothing of this one."""
        exchange.away = True
        self.counters.done(exchange.waits)
        exchange.waits = 0

    def back(self, exchange: Exchange) -> None:
        """It couldn't: this one answers after all."""
        exchange.away = False
        exchange.waits = self.counters.waits(perf_counter())

    def abandoned(self, exchange: Exchange) -> None:
        """Its client is gone: nobody waits for the answer."""
        self._ended(exchange)
        # What was sent here is counted where it came from.
        here = not exchange.internal and not exchange.away
        if here and perf_counter() - exchange.started >= self.limits.gave_up_s:
            self.counters.lost()

    def _ended(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        self.counters.set(IN_FLIGHT, self.in_flight)
        self.counters.done(exchange.waits)
        exchange.waits = 0

    def count(self, exchange: Exchange) -> None:
        """Counters always; a log line only for what went wrong."""
        self._ended(exchange)
        counters = self.counters
        status, body, _ = exchange.response or (0, b"", b"")
        if exchange.quiet:
            return
        self.requests += 1
        spent = perf_counter() - exchange.started
        if exchange.copy:
            counters.copied(status, spent)
        else:
            counters.answered(status, spent, len(exchange.body), len(body))
        if status < 400:
            if b"x-request-id" in exchange.headers:
                exchange.mark += _ID % self._id(exchange)
            return
        request_id = self._id(exchange)
        exchange.mark += _ID % request_id
        if status < 500:
            self.refused += 1
        else:
            self.errors += 1
        self._logged += 1
        if self._logged <= _LOGGED_A_SECOND:
            self._log(
                {
                    "request_id": request_id.decode("latin-1"),
                    "method": exchange.method.decode("latin-1"),
                    "path": exchange.path.decode("latin-1")[:256],
                    "status": status,
                    "ms": round(spent * 1000, 2),
                    "rows": exchange.rows,
                }
            )

    def _id(self, exchange: Exchange) -> bytes:
        """The client's, else one of ours: only what goes wrong gets one of those, since
        only that is in the log."""
        given = exchange.headers.get(b"x-request-id")
        if given is None:
            given = b"%s-%d" % (self._instance, next(self._ids))
            exchange.headers = {**exchange.headers, b"x-request-id": given}
        return given[:_ID_BYTES]

    def broke(self, exchange: Exchange, error: Exception) -> None:
        """A fault of ours: say so, and leave the trace in the log."""
        request_id = self._id(exchange).decode("latin-1")
        trace = "".join(traceback.format_exception(error))[-4000:]
        self._log({"request_id": request_id, "error": trace})
        if exchange.response is None:
            exchange.refuse(Refusal(500, f"The replica failed: {type(error).__name__}."))

    def _tick(self) -> None:
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        if self._logged > _LOGGED_A_SECOND:
            self._log({"suppressed": self._logged - _LOGGED_A_SECOND})
        self._logged = 0
        self.heads.sweep()
        self.sweep()
        self._timer = self.loop.call_later(1.0, self._tick)

    def sweep(self) -> None:
        """End what took too long."""
        now = self.loop.time()
        draining = self._draining_since
        idle_s = self.limits.idle_s if draining is None else self._drain_idle_s
        for connection in list(self.connections):
            connection.sweep(now, idle_s, draining or 0.0)
