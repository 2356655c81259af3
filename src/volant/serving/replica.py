"""A replica: one process that answers for one revision.

Its life: load → say `ready` → wait for `accept` → serve → `drain` → exit. It is a fork
of the `serve` zygote, so everything heavy that this module imports is there already.

Control socket, one JSON object a line. From the replica: `ready`, `failed`, `stats`;
`load` and `unload` (`id`; `token`: the SHA-256 of the one that was shown, or null).
To it: `accept` (`on`: at the socket that comes along, else at the one it was born with),
`traffic` (`routes`, `sticky`: the other revisions, see `traffic.Traffic`), `drain`
(`idle_s`: close connections that stay idle this long, 10 when left out; `unloaded`:
predict no more), `answer` (`id` of what was asked; `error`, null when it is done), `shed`
(`connections`: end that many with their next answer), `tokens` (`sha256`: those that may
predict from now on), `log` (how predictions are logged, or null). End of file on it means
that nobody looks after this process: it drains at once and exits, at the latest after
`Assignment.leave_s` seconds, whatever its model does meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop

from volant.errors import StepFailed, VolantError
from volant.serving.absent import Absent
from volant.serving.asks import Asks
from volant.serving.batching import Batcher
from volant.serving.control import Control
from volant.serving.counter_map import CPU_US, MEMORY
from volant.serving.counters import Counters
from volant.serving.http_server import HttpServer
from volant.serving.inference import Model, load
from volant.serving.lifeline import end_with, end_within, hang_up
from volant.serving.limits import HttpLimits
from volant.serving.log_files import reopen
from volant.serving.log_meta import meta_of
from volant.serving.prediction_log import LogOrder, PredictionLog
from volant.serving.replica_spec import Assignment
from volant.serving.routes import Service
from volant.serving.scrape import Scrape
from volant.serving.split import Split

DRAIN_IDLE_S = 10.0
_LEAVING_IDLE_S = 0.2  # when the platform itself goes down
_MEMORY_EVERY_S = 5.0
_TRACE = 8000  # characters of one that are kept
_REPORT_S = 0.25  # the fleet adds replicas no faster than it hears of demand


def serve(spec: Mapping[str, Any], listen_fd: int, control_fd: int) -> None:
    """Be the replica of `spec` until drained. The descriptors belong to this call."""
    control = socket.socket(fileno=control_fd)
    try:
        assignment = Assignment.from_spec(spec)
        end_with(control, assignment.leave_s)
        model = load(assignment.model_dir, assignment.files) if assignment.loaded else Absent()
    except Exception as error:
        if not isinstance(error, VolantError) or error.__cause__ is not None:
            _log({"error": "".join(traceback.format_exception(error))[-_TRACE:]})
        _tell(control, {"type": "failed", "error": _as_error(error).to_dict()})
        hang_up(control)
        os.close(listen_fd)
        return
    # A request leaves no cycles behind; looking for them took a tenth of its time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    listening = socket.socket(fileno=listen_fd)
    listening.setblocking(False)
    control.setblocking(False)
    _more_descriptors()
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.default_int_handler):
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
    told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
    try:
        line = orjson.dumps(told)
    except TypeError:  # a model's words may be no UTF-8
        line = json.dumps(told, default=str).encode()
    try:
        os.write(sys.stderr.fileno(), line + b"\n")
    except OSError:
        return  # a full disk must not stop the answers


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
        self._batcher: Batcher | None = None
        self._channel: Control | None = None
        self._split: Split | None = None
        self._asks: Asks | None = None
        self._last_request = time.monotonic()
        self._last_stats: tuple[int, ...] = ()
        self._memory = 0
        self._memory_at = 0.0
        self._leaving = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        counters = Counters.of(self._assignment.counters)
        batcher = Batcher(self._model.predict, loop, self._assignment.batch, counters)
        server = HttpServer(loop, HttpLimits(), _log, counters)
        self._server = server
        self._batcher = batcher
        self._log_to(self._assignment.log)
        service = Service(
            self._assignment,
            self._model.description,
            batcher,
            # One that another has replaced still answers for the deployment, which is ready.
            lambda: not self._leaving,
            server.broke,
        )
        service.add("/metrics", Scrape(self._assignment, counters).handle, guarded=False)
        service.asks = self._asks = Asks(self._say, loop)
        if not self._assignment.loaded:
            service.withdraw()
        server.handle = service.handle
        server.call = service.call
        self._service = service
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        self._split = Split(self._assignment, server, service, _log)
        self._split.set(self._assignment.traffic)
        self._channel = Control(self._control, loop, self.told, self.leave)
        self._say({"type": "ready"})
        reporter = loop.create_task(self._report(server))
        await server.empty.wait()
        reporter.cancel()
        self._say(self._stats(server))
        batcher.close()
        self._log_to(None)
        self._split.close()
        server.close()
        self._channel.close()
        await asyncio.sleep(0)

    def told(self, message: Mapping[str, Any], passed: socket.socket | None) -> None:
        """Do what the controller says; what is unknown is ignored."""
        server = self._server
        if server is None:
            return
        kind = message.get("type")
        if kind == "accept":
            self._accept(server, passed)
        elif kind == "traffic" and self._split is not None:
            self._split.set(message)
        elif kind == "answer" and self._asks is not None:
            self._asks.answered(message)
        elif kind == "drain":
            if message.get("unloaded") and self._service is not None:
                self._service.withdraw()
            self._drain(server, float(message.get("idle_s", DRAIN_IDLE_S)))
            end_within(self._assignment.leave_s)
        elif kind == "tokens" and self._service is not None:
            self._service.allow_tokens(message.get("sha256"))
        elif kind == "log":
            self._log_to(LogOrder.from_spec(message.get("log")))
        elif kind == "shed":
            server.shed(int(message.get("connections", 0)))

    def _accept(self, server: HttpServer, passed: socket.socket | None) -> None:
        listening = passed
        if listening is None:
            listening, self._listening = self._listening, None
        if listening is None:
            return
        if server.draining:
            listening.close()
        else:
            listening.setblocking(False)
            server.accept_on(listening)

    def _log_to(self, order: LogOrder | None) -> None:
        """From now on log predictions so, or not at all; what was open is complete then."""
        batcher = self._batcher
        if batcher is None:
            return
        before, batcher.log = batcher.log, None
        if before is not None:
            before.close()
        if order is not None:
            meta = meta_of(self._assignment, self._model.description)
            batcher.log = PredictionLog(order, meta, _log)

    def leave(self) -> None:
        """Drain without patience for idle connections, and not without end."""
        end_within(self._assignment.leave_s)
        self._leaving = True
        if self._asks is not None:
            self._asks.give_up()
        if self._server is not None:
            self._drain(self._server, _LEAVING_IDLE_S)

    def _drain(self, server: HttpServer, idle_s: float) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        server.drain(idle_s)

    async def _report(self, server: HttpServer) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            server.counters.set(CPU_US, int(time.process_time() * 1e6))
            if self._assignment.log_file is not None:
                reopen(self._assignment.log_file, 2, 1)
            if self._batcher is not None and self._batcher.log is not None:
                self._batcher.log.tick()
            sent = server.passed_on
            copies = 0 if self._split is None else self._split.counted
            state = (server.requests + sent, server.in_flight, len(server.connections), copies)
            if state != self._last_stats:
                self._say(self._stats(server))
                self._last_stats = state

    def _stats(self, server: HttpServer) -> dict[str, Any]:
        now = time.monotonic()
        if not self._last_stats or server.requests + server.passed_on != self._last_stats[0]:
            self._last_request = now
        if now - self._memory_at >= _MEMORY_EVERY_S or self._memory == 0:
            self._memory_at, self._memory = now, _proportional_bytes()
            server.counters.set(MEMORY, self._memory)
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
            "passed_on": server.passed_on,
            "routes": {} if self._split is None else self._split.counts(),
        }

    def _say(self, message: Mapping[str, Any]) -> bool:
        return self._channel is not None and self._channel.say(message)


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
