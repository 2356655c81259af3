"""One deployment while it is served: its listening socket, its replicas, and what
should be done about them now.

Everything here runs in the fleet's thread and never touches the database. `step` is
the only place that starts, drains or ends replicas: it compares what is with what is
wanted, so that a missed or doubled message corrects itself at the next turn.
"""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from volant.domain.loop import ReplicaSpec
from volant.errors import Unavailable, VolantError, from_dict
from volant.serving.apology import Apology
from volant.serving.replica_handle import ReplicaHandle, ReplicaState, ServedVersion
from volant.serving.scale import Demand, backoff_s, wanted_replicas

BACKLOG = 4096
_BIND_AGAIN_S = 0.5
_HOPELESS = 3  # failures in a row, after which waiting clients are told so
_SETTLED_S = 10.0  # a replica that served this long has proven itself
_CANDIDATE_LOSSES = 3  # a killed process says nothing of its model; this often, it does


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A draining replica gets SIGTERM after `drain_s` and SIGKILL `grace_s`
    later; `idle_s` is how long it waits for the next request of a kept connection."""

    ready_s: float = 60.0
    idle_s: float = 10.0
    drain_s: float = 30.0
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Desired:
    """What the records say of one deployment. `problem` says why its live revision
    can't be started at all."""

    name: str
    host: str
    port: int
    replicas: ReplicaSpec
    live: ServedVersion | None
    problem: str | None = None


class Surroundings(Protocol):
    """What a deployment needs of the fleet."""

    def launch(
        self, version: ServedVersion, listening: socket.socket, memory_bytes: int | None
    ) -> ReplicaHandle: ...

    def watch(self, listening: socket.socket, react: Callable[[float], None]) -> None: ...

    def unwatch(self, listening: socket.socket) -> None: ...

    def outcome(self, version: ServedVersion, problem: str | None) -> None: ...


class Served:
    def __init__(self, desired: Desired, around: Surroundings, patience: Patience) -> None:
        self.desired = desired
        self.handles: list[ReplicaHandle] = []
        self._around = around
        self._patience = patience
        self._live: ServedVersion | None = desired.live
        self._candidate: ServedVersion | None = None
        self._candidate_losses = 0
        self._listening: socket.socket | None = None
        self._watched = False
        self._apology = Apology()
        self._apologizing = False
        self._closing = False
        self._wanted = desired.replicas.min
        self._demand = Demand()
        self._bind_problem: str | None = None
        self._bind_at = 0.0
        self._failures = 0
        self._last_problem: str | None = None
        self._start_at = 0.0
        self._requests = 0
        self._errors = 0

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def over(self) -> bool:
        """Closed, and no replica left."""
        return self._closing and not self.handles

    # orders

    def desire(self, desired: Desired, now: float) -> None:
        """Take over what the records say now."""
        self.desired = desired
        live = desired.live
        if live is not None and (self._live is None or self._live.revision != live.revision):
            self._go_live(live)
        self._wanted = min(max(self._wanted, desired.replicas.min), max(desired.replicas.max, 1))

    def prepare(self, version: ServedVersion) -> None:
        """Have one replica of `version` ready, without traffic."""
        if self._candidate is None or self._candidate.revision != version.revision:
            self._candidate = version
            self._candidate_losses = 0

    def abandon(self, revision: int) -> None:
        """The candidate won't go live."""
        if self._candidate is not None and self._candidate.revision == revision:
            self._candidate = None

    def switch(self, revision: int) -> None:
        """The candidate is live from now on; the others drain at the next step."""
        if self._candidate is not None and self._candidate.revision == revision:
            self._go_live(self._candidate)

    def _go_live(self, version: ServedVersion) -> None:
        serving = sum(1 for h in self.handles if h.accepting)
        self._live = version
        if self._candidate is not None and self._candidate.revision == version.revision:
            self._candidate = None
        self._failures, self._start_at, self._last_problem = 0, 0.0, None
        ready = any(h.version.revision == version.revision for h in self.handles)
        self._wanted = max(self.desired.replicas.min, serving, int(ready))

    def close(self, now: float, idle_s: float) -> None:
        """Give the socket up and drain everything."""
        self._closing = True
        self._unwatch()
        self._apology.close()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for handle in self.handles:
            handle.drain(now, idle_s)

    def tell_all(self, message: dict[str, Any]) -> None:
        """To every replica, whatever its state."""
        for handle in self.handles:
            handle.tell(message)

    def kill(self) -> None:
        """End what is left, at once."""
        for handle in self.handles:
            handle.signal(signal.SIGKILL)

    # what replicas say

    def heard(self, handle: ReplicaHandle, message: dict[str, Any], now: float) -> None:
        """One message of a replica."""
        kind = message.get("type")
        if kind == "ready" and handle.state is ReplicaState.STARTING:
            handle.state = ReplicaState.READY
            handle.ready_at = handle.last_request = now
            if self._is_candidate(handle):
                self._around.outcome(handle.version, None)
            elif handle.accepting:
                self._rebalance(handle)
        elif kind == "failed":
            handle.error = str(from_dict(message.get("error") or {}))
        elif kind == "stats":
            errors = handle.errors
            self._requests += handle.take_stats(message, now)
            self._errors += handle.errors - errors
            if handle.accepting:
                peaks = sum(h.peak_in_flight for h in self.handles if h.accepting)
                self._demand.add(now, peaks)

    def gone(self, handle: ReplicaHandle, now: float) -> None:
        """Its control socket closed: the process has ended or is about to."""
        self.handles.remove(handle)
        handle.channel.close()
        if handle.leaving or self._closing:
            return
        problem = handle.error or "Its process ended without a word; see the deployment's log."
        if self._is_candidate(handle):
            self._candidate_gone(handle.version, problem, lost=handle.error is None)
            return
        if handle.ready_at is not None and now - handle.ready_at > _SETTLED_S:
            self._failures = 0
        self._failed(problem, now)

    def _candidate_gone(self, version: ServedVersion, problem: str, *, lost: bool) -> None:
        """Refuse it; but one that was lost by no fault of its model is started again."""
        if lost:
            self._candidate_losses += 1
            if self._candidate_losses < _CANDIDATE_LOSSES:
                return
        self._candidate = None
        self._around.outcome(version, problem)

    def _failed(self, problem: str, now: float) -> None:
        self._failures += 1
        self._last_problem = problem
        self._start_at = now + backoff_s(self._failures)
        # With clients waiting the socket is readable and one starts again; without,
        # a broken model isn't started over and over for nobody.
        self._wanted = max(self.desired.replicas.min, len(self._active()))

    def _is_candidate(self, handle: ReplicaHandle) -> bool:
        return self._candidate is not None and handle.version.revision == self._candidate.revision

    def _rebalance(self, newcomer: ReplicaHandle) -> None:
        """Clients keep their connections, so a new replica would get none of them."""
        others = [h for h in self.handles if h.accepting and h is not newcomer]
        total = sum(h.connections for h in others)
        share = total // (len(others) + 1)
        for other in others:
            if other.connections > share:
                other.tell({"type": "shed", "connections": other.connections - share})

    # the turn

    def step(self, now: float) -> None:
        """Bring what is closer to what is wanted."""
        self._lose_patience(now)
        if self._closing:
            return
        if self._listening is None and now >= self._bind_at:
            self._bind(now)
        if self._listening is None:
            return
        self._start_candidate(self._listening, now)
        self._settle_wanted(now)
        self._start_missing(self._listening, now)
        self._drain_surplus(now)
        self._poll_if_alone(now)

    def next_step(self, now: float) -> float:
        """Seconds until something is due although nothing happens."""
        due = [now + 60.0]
        if self._listening is None and not self._closing:
            due.append(self._bind_at)
        if self._start_at > now:
            due.append(self._start_at)
        if self._apologizing:
            due.append(now + 0.1)
        for handle in self.handles:
            if handle.leaving:
                due.append(now + 0.5)
            elif handle.state is ReplicaState.STARTING:
                due.append(handle.started + self._patience.ready_s)
            else:
                due.append(now + min(1.0, max(0.05, self.desired.replicas.idle_s / 4)))
        return max(0.0, min(due) - now)

    def _lose_patience(self, now: float) -> None:
        patience = self._patience
        for handle in self.handles:
            since = handle.draining_since
            if since is not None and now - since > patience.drain_s + patience.grace_s:
                handle.signal(signal.SIGKILL)
            elif since is not None and now - since > patience.drain_s and not handle.terminated:
                handle.terminated = True
                handle.signal(signal.SIGTERM)
            elif (
                handle.state is ReplicaState.STARTING
                and now - handle.started > patience.ready_s
                and handle.error is None
            ):
                handle.error = f"It wasn't ready within {patience.ready_s:g} s."
                handle.signal(signal.SIGKILL)

    def _bind(self, now: float) -> None:
        desired = self.desired
        family = socket.AF_INET6 if ":" in desired.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((desired.host, desired.port))
            listening.listen(BACKLOG)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            self._bind_at = now + _BIND_AGAIN_S
            taken = error.errno == errno.EADDRINUSE
            why = "is in use by another process" if taken else f"can't be used: {error.strerror}"
            self._bind_problem = (
                f"Port {desired.port} on {desired.host} {why}. Volant tries again every "
                f"{_BIND_AGAIN_S:g} s; end the other process to let this deployment answer."
            )
            return
        self._listening = listening
        self._bind_problem = None

    def _active(self) -> list[ReplicaHandle]:
        live = self._live
        return [
            h
            for h in self.handles
            if live is not None and h.version.revision == live.revision and not h.leaving
        ]

    def _start_candidate(self, listening: socket.socket, now: float) -> None:
        version = self._candidate
        if version is None or any(self._is_candidate(h) for h in self.handles):
            return
        try:
            self._launch(version, listening)
        except (VolantError, OSError) as error:
            lost = isinstance(error, Unavailable)  # its zygote was, while it started
            self._candidate_gone(version, f"It can't be started: {error}", lost=lost)

    def _settle_wanted(self, now: float) -> None:
        active = [h for h in self._active() if h.state is ReplicaState.READY]
        if not active:
            return
        spec = self.desired.replicas
        used = max(h.last_request for h in active)
        busy = any(h.in_flight for h in active)
        if not busy and now - used >= spec.idle_s:
            self._wanted = spec.min
        elif self._wanted or busy:
            self._wanted = wanted_replicas(self._demand.highest(now), spec)

    def _start_missing(self, listening: socket.socket, now: float) -> None:
        live = self._live
        if live is None or now < self._start_at:
            return
        for handle in self._active():
            handle.accept()
        for _ in range(self._wanted - len(self._active())):
            try:
                self._launch(live, listening).accept()
            except (VolantError, OSError) as error:
                self._failed(f"It can't be started: {error}", now)
                return

    def _launch(self, version: ServedVersion, listening: socket.socket) -> ReplicaHandle:
        handle = self._around.launch(version, listening, self.desired.replicas.memory_bytes)
        self.handles.append(handle)
        return handle

    def _drain_surplus(self, now: float) -> None:
        active = self._active()
        for handle in self.handles:
            stray = handle not in active and not self._is_candidate(handle)
            # Old ones go only once a new one takes over, or there is nothing to wait for.
            if stray and not handle.leaving and (self._takes_over(active) or not self._wanted):
                handle.drain(now, self._patience.idle_s)
        for handle in active[self._wanted :] if self._wanted < len(active) else []:
            handle.drain(now, self._patience.idle_s)

    def _takes_over(self, active: list[ReplicaHandle]) -> bool:
        return any(h.accepting and h.state is ReplicaState.READY for h in active)

    def _poll_if_alone(self, now: float) -> None:
        """With no replica that will accept, this process watches the socket itself."""
        listening = self._listening
        if listening is None:
            return
        alone = self._live is not None and not any(h.accepting for h in self.handles)
        hopeless = self._failures >= _HOPELESS and now < self._start_at
        if alone and (hopeless or now >= self._start_at):
            if not self._watched:
                self._watched = True
                self._around.watch(listening, self._someone_waits)
        else:
            self._unwatch()
        self._apologizing = self._apology.step(now)

    def _someone_waits(self, now: float) -> None:
        if now >= self._start_at:
            self._unwatch()
            self._wanted = max(self._wanted, 1)
        elif self._listening is not None:
            reason = self._reason(now) or ""
            self._apology.answer(self._listening, reason, self._start_at - now, now)
            self._apologizing = True

    def _unwatch(self) -> None:
        if self._watched and self._listening is not None:
            self._watched = False
            self._around.unwatch(self._listening)

    # what others see

    def view(self, now: float) -> dict[str, Any]:
        """The present state as JSON-able facts."""
        reason = self._reason(now)
        serving = any(h.accepting and h.state is ReplicaState.READY for h in self.handles)
        starting = any(h.state is ReplicaState.STARTING for h in self.handles)
        if serving:
            status = "serving"
        elif reason is not None:
            status = "failing"
        else:
            status = "starting" if starting else "idle"
        return {
            "status": status,
            "reason": reason,
            "serving_revision": self._live.revision if self._live else None,
            "requests": self._requests,
            "errors": self._errors,
            "replicas": [asdict(h.view(now)) for h in self.handles],
        }

    def _reason(self, now: float) -> str | None:
        if self._bind_problem is not None:
            return self._bind_problem
        if self.desired.problem is not None:
            return self.desired.problem
        if self._failures == 0 or self._last_problem is None:
            return None
        if any(h.ready_at is not None and now - h.ready_at > _SETTLED_S for h in self._active()):
            return None
        wait = max(0.0, self._start_at - now)
        times = "once" if self._failures == 1 else f"{self._failures} times in a row"
        return f"Its replica ended {times}; next start in {wait:.1f} s. {self._last_problem}"
