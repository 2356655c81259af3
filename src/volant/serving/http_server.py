"""What the HTTP connections of one replica share: limits, counters, accepting, draining."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from volant.serving.http import Connection, Exchange
from volant.serving.limits import HttpLimits
from volant.serving.refusal import Refusal

_ACCEPTS_A_TURN = 16  # connections taken at one wake-up: the other replicas want some too
_LOGGED_A_SECOND = 20

Handler = Callable[[Exchange], None]


def _not_found(exchange: Exchange) -> None:
    exchange.refuse(Refusal(404, "Nothing is served here."))


class HttpServer:
    """What the connections of one process share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: HttpLimits,
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        self.loop = loop
        self.handle: Handler = _not_found  # set before `accept_on`
        self.limits = limits
        self.connections: set[Connection] = set()
        self.requests = 0
        self.refused = 0  # 4xx
        self.errors = 0  # 5xx
        self.in_flight = 0
        self.peak_in_flight = 0
        self.date = b""
        self.empty = asyncio.Event()
        self._log = log
        self._logged = 0
        self._socket: socket.socket | None = None
        self._draining_since: float | None = None
        self._drain_idle_s = 0.0
        self._shed = 0
        self._making: set[asyncio.Task[Any]] = set()
        self._tick()

    # accepting

    def accept_on(self, listening: socket.socket) -> None:
        """Take connections from a socket that other processes listen on as well."""
        self._socket = listening
        self.loop.add_reader(listening.fileno(), self._accept)

    def _accept(self) -> None:
        listening = self._socket
        if listening is None:
            return
        for _ in range(_ACCEPTS_A_TURN):
            if len(self.connections) + len(self._making) >= self.limits.connections:
                self._rest(0.05)
                return
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors, no memory: the kernel's queue keeps them
                self._rest(0.1)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self.loop.create_task(self._connect(accepted))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: Connection(self), accepted)
        except OSError:  # gone before it was served
            accepted.close()

    def _rest(self, seconds: float) -> None:
        listening = self._socket
        if listening is None:
            return
        self.loop.remove_reader(listening.fileno())

        def again() -> None:
            if self._socket is listening:
                self.loop.add_reader(listening.fileno(), self._accept)

        self.loop.call_later(seconds, again)

    def stop_accepting(self) -> None:
        """Leave the listening socket to the others; what waits in it stays there. Only
        this process's descriptor is closed: `shutdown` would end the socket for all."""
        listening, self._socket = self._socket, None
        if listening is not None:
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

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._check_empty()

    def _check_empty(self) -> None:
        if self._draining_since is not None and not self.connections and not self._making:
            self.empty.set()

    # bookkeeping

    def count(self, exchange: Exchange) -> None:
        """Counters always; a log line only for what went wrong."""
        self.in_flight -= 1
        self.requests += 1
        status = exchange.response[0] if exchange.response else 0
        if status < 400:
            return
        if status < 500:
            self.refused += 1
        else:
            self.errors += 1
        self._logged += 1
        if self._logged <= _LOGGED_A_SECOND:
            request_id = exchange.headers.get(b"x-request-id", b"").decode("latin-1")
            self._log(
                {
                    "request_id": request_id[:128],
                    "method": exchange.method.decode("latin-1"),
                    "path": exchange.path.decode("latin-1")[:256],
                    "status": status,
                    "ms": round((self.loop.time() - exchange.started) * 1000, 2),
                    "rows": exchange.rows,
                }
            )

    def broke(self, exchange: Exchange, error: Exception) -> None:
        """A fault of ours: say so, and leave the trace in the log."""
        self._log({"error": "".join(traceback.format_exception(error))[-4000:]})
        if exchange.response is None:
            exchange.refuse(Refusal(500, f"The replica failed: {type(error).__name__}."))

    def _tick(self) -> None:
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        if self._logged > _LOGGED_A_SECOND:
            self._log({"suppressed": self._logged - _LOGGED_A_SECOND})
        self._logged = 0
        self.sweep()
        self._timer = self.loop.call_later(1.0, self._tick)

    def sweep(self) -> None:
        """End what took too long."""
        now = self.loop.time()
        draining = self._draining_since
        idle_s = self.limits.idle_s if draining is None else self._drain_idle_s
        for connection in list(self.connections):
            connection.sweep(now, idle_s, draining or 0.0)
