"""A replica: one process that answers for one revision.

Its life: load → say `ready` → wait for `accept` → serve → `drain` → exit. It is a fork
of the `serve` zygote, so everything heavy that this module imports is there already.

Control socket, one JSON object a line. From the replica: `ready`, `failed`, `stats`.
To it: `accept`, `drain` (`idle_s`: close connections that stay idle this long, 10 when
left out), `shed` (`connections`: end that many with their next answer), `tokens` (`sha256`:
those that may predict from now on). End of file
on it means that nobody looks after this process: it drains at once and exits.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop

from volant.errors import StepFailed, VolantError
from volant.serving.batching import Batcher
from volant.serving.http_server import HttpServer
from volant.serving.inference import Model, load
from volant.serving.limits import HttpLimits
from volant.serving.replica_spec import Assignment
from volant.serving.routes import Service

DRAIN_IDLE_S = 10.0
_LEAVING_IDLE_S = 0.2  # when the platform itself goes down
_MEMORY_EVERY_S = 5.0


def serve(spec: Mapping[str, Any], listen_fd: int, control_fd: int) -> None:
    """Be the replica of `spec` until drained. The descriptors belong to this call."""
    control = socket.socket(fileno=control_fd)
    try:
        assignment = Assignment.from_spec(spec)
        model = load(assignment.model_dir, assignment.files)
    except Exception as error:
        _tell(control, {"type": "failed", "error": _as_error(error).to_dict()})
        control.close()
        os.close(listen_fd)
        return
    listening = socket.socket(fileno=listen_fd)
    listening.setblocking(False)
    control.setblocking(False)
    _more_descriptors()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Replica(assignment, model, listening, control).run())


def _as_error(error: Exception) -> VolantError:
    if isinstance(error, VolantError):
        return error
    return StepFailed(
        f"The replica failed while it loaded: {type(error).__name__}: {error}",
        "See the deployment's log.",
    )


def _tell(control: socket.socket, message: Mapping[str, Any]) -> None:
    try:
        control.sendall(orjson.dumps(message) + b"\n")
    except OSError:
        return  # nobody listens any more; end of file says the same


def _more_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log(fields: Mapping[str, Any]) -> None:
    """One JSON line on standard error, which the launcher sends to the log file."""
    line = orjson.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})
    try:
        os.write(sys.stderr.fileno(), line + b"\n")
    except OSError:
        return  # a full disk must not stop the answers


class _Control(asyncio.Protocol):
    """The replica's end of the control socket."""

    def __init__(self, replica: _Replica) -> None:
        self._replica = replica
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._replica.told(orjson.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._replica.leave()


class _Replica:
    def __init__(
        self,
        assignment: Assignment,
        model: Model,
        listening: socket.socket,
        control: socket.socket,
    ) -> None:
        self._assignment = assignment
        self._model = model
        self._listening: socket.socket | None = listening
        self._control = control
        self._server: HttpServer | None = None
        self._service: Service | None = None
        self._channel: asyncio.WriteTransport | None = None
        self._last_request = time.monotonic()
        self._last_stats: tuple[int, ...] = ()
        self._memory = 0
        self._memory_at = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        batcher = Batcher(self._model.predict, loop, self._assignment.batch)
        server = HttpServer(loop, HttpLimits(), _log)
        self._server = server
        service = Service(
            self._assignment,
            self._model.description,
            batcher,
            lambda: not server.draining,
            server.broke,
        )
        server.handle = service.handle
        self._service = service
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        transport, _ = await loop.create_unix_connection(lambda: _Control(self), sock=self._control)
        self._channel = transport
        self._say({"type": "ready"})
        reporter = loop.create_task(self._report(server))
        await server.empty.wait()
        reporter.cancel()
        self._say(self._stats(server))
        batcher.close()
        server.close()
        transport.close()
        await asyncio.sleep(0)

    def told(self, message: Mapping[str, Any]) -> None:
        """Do what the controller says; what is unknown is ignored."""
        server = self._server
        if server is None:
            return
        kind = message.get("type")
        if kind == "accept" and self._listening is not None and not server.draining:
            listening, self._listening = self._listening, None
            server.accept_on(listening)
        elif kind == "drain":
            self._drain(server, float(message.get("idle_s", DRAIN_IDLE_S)))
        elif kind == "tokens" and self._service is not None:
            self._service.allow_tokens(message.get("sha256"))
        elif kind == "shed":
            server.shed(int(message.get("connections", 0)))

    def leave(self) -> None:
        """Drain without patience for idle connections."""
        if self._server is not None:
            self._drain(self._server, _LEAVING_IDLE_S)

    def _drain(self, server: HttpServer, idle_s: float) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        server.drain(idle_s)

    async def _report(self, server: HttpServer) -> None:
        while True:
            await asyncio.sleep(1.0)
            state = (server.requests, server.in_flight, len(server.connections))
            if state != self._last_stats:
                self._say(self._stats(server))
                self._last_stats = state

    def _stats(self, server: HttpServer) -> dict[str, Any]:
        now = time.monotonic()
        if not self._last_stats or server.requests != self._last_stats[0]:
            self._last_request = now
        if now - self._memory_at >= _MEMORY_EVERY_S or self._memory == 0:
            self._memory_at, self._memory = now, _proportional_bytes()
        peak, server.peak_in_flight = server.peak_in_flight, server.in_flight
        return {
            "type": "stats",
            "requests": server.requests,
            "errors": server.errors,
            "refused": server.refused,
            "in_flight": server.in_flight,
            "peak_in_flight": peak,
            "connections": len(server.connections),
            "memory_bytes": self._memory,
            "last_request_age_s": round(now - self._last_request, 3),
        }

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(orjson.dumps(message) + b"\n")


def _proportional_bytes() -> int:
    """Proportional set size: the zygote's shared pages counted once over all forks."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
