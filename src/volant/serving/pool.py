"""The replicas of one revision, and how many there should be.

*Active* ones take requests at the pool's doors; *spares* have loaded the model and wait.
Everything here runs in the fleet's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from volant.domain.loop import ReplicaSpec
from volant.errors import VolantError
from volant.serving.desired import Patience
from volant.serving.door import Door, DoorName
from volant.serving.replica_handle import ReplicaHandle, ReplicaState, ServedVersion
from volant.serving.scale import Demand, backoff_s, wanted_replicas

HOPELESS = 3  # failures in a row, after which waiting clients are told so
SETTLED_S = 10.0  # a replica that served this long has proven itself

Launch = Callable[[ServedVersion], ReplicaHandle]


class Pool:
    """`launch` forks one replica of a version. It may raise `VolantError` and `OSError`,
    and `StillStarting` when it can't be known yet."""

    def __init__(self, version: ServedVersion, launch: Launch, down_s: float) -> None:
        self.version = version
        self.handles: list[ReplicaHandle] = []
        self.doors: dict[DoorName, Door] = {}
        self.spec = ReplicaSpec()
        self.wanted = 0
        self.auditions = False  # a candidate: one replica shall load, and be judged by it
        self.losses = 0  # of a candidate's replicas, by no fault of its model
        self.failures = 0
        self.problem: str | None = None
        self.refused: VolantError | OSError | None = None  # why the last couldn't be forked
        self.start_at = 0.0
        self._launch = launch
        self._demand = Demand(down_s)
        self.failed_at = 0.0
        self._called: float | None = None  # when somebody came and nobody was there
        self._waited: float | None = None  # how long that one did until a spare took over

    @property
    def active(self) -> list[ReplicaHandle]:
        return [h for h in self.handles if h.accepting and not h.leaving]

    @property
    def waiting(self) -> list[ReplicaHandle]:
        """Spares, those that can answer first."""
        spares = [h for h in self.handles if not h.accepting and not h.leaving]
        return sorted(spares, key=lambda h: h.state is not ReplicaState.READY)

    @property
    def serving(self) -> list[ReplicaHandle]:
        return [h for h in self.active if h.state is ReplicaState.READY]

    @property
    def loaded(self) -> bool:
        """Whether a replica has its model and isn't leaving."""
        return any(h.state is ReplicaState.READY for h in self.handles)

    def scale(self, spec: ReplicaSpec) -> None:
        """These are its bounds from now on."""
        if (spec.memory_bytes, spec.cpu) != (self.spec.memory_bytes, self.spec.cpu):
            self.forgive()  # what failed within the limits before may do now
        self.spec = spec
        self.wanted = min(max(self.wanted, spec.min), max(spec.max, 1))

    def forgive(self) -> None:
        """Start afresh: what failed before isn't held against it."""
        self.failures, self.start_at, self.problem, self.refused = 0, 0.0, None, None

    # what replicas say

    def busy(self, now: float) -> None:
        """One of them told its figures."""
        self._demand.add(now, sum(h.peak_in_flight for h in self.active))

    def answers(self, now: float) -> float | None:
        """One is ready: how long somebody has waited for it, if anybody did."""
        called, self._called = self._called, None
        return now - called if called is not None else None

    def spared(self) -> float | None:
        """How long somebody has waited until a spare took over, if one just did; told once."""
        waited, self._waited = self._waited, None
        return waited

    def lost(self, handle: ReplicaHandle, problem: str, now: float) -> None:
        """One that should have gone on has ended."""
        if settled(handle, now):
            self.failures = 0
        self.failed(problem, now)

    def failed(self, problem: str, now: float) -> None:
        """Wait before the next start, the longer the more often it failed."""
        self.failures += 1
        self.failed_at = now
        self.problem = problem
        self.start_at = now + backoff_s(self.failures)
        # With clients waiting the socket is readable and one starts again; without,
        # a broken model isn't started over and over for nobody.
        self.wanted = max(self.spec.min, len(self.active))

    # the turn

    def step(self, now: float, patience: Patience, *, relieved: bool) -> None:
        """Start and drain. `relieved`: replicas of another revision still accept at the
        public door, so that nobody waits there for this one."""
        self._settle(now)
        self._admit(now)
        if now >= self.start_at:
            self._start(now)
        for handle in self.active[self.wanted :]:
            if handle.state is ReplicaState.READY:
                self.forgive()  # it goes in order, so its end is no reason to call it failing
            handle.drain(now, patience.idle_s)
        for handle in self.waiting[self._spares() :]:
            handle.drain(now, patience.idle_s)
        for door in self.doors.values():
            self._watch(door, now, taken=door.name == "public" and relieved)

    def _settle(self, now: float) -> None:
        if self.failures and any(self._proven(h, now) for h in self.handles):
            self.forgive()
        serving = self.serving
        if not serving:
            return
        self._called = None
        used = max(h.last_request for h in serving)
        busy = any(h.in_flight for h in serving)
        if not busy and now - used >= self.spec.idle_s:
            self.wanted = self.spec.min
        elif self.wanted or busy:
            self.wanted = wanted_replicas(self._demand.highest(now), self.spec)

    def _proven(self, handle: ReplicaHandle, now: float) -> bool:
        """Whether it has lasted, a spare too, since the last failure. One that was there
        before says nothing of those that fail beside it."""
        at = handle.ready_at
        return at is not None and at >= self.failed_at and settled(handle, now)

    def _spares(self) -> int:
        """How many shall wait. A candidate's only replica is one: it has no door yet."""
        return max(self.spec.spares, int(self.auditions and not self.active))

    def _admit(self, now: float) -> None:
        """Those that are there already: to every door, as many as are wanted."""
        if not self.doors:
            self.wanted = 0
        for handle in self.active:
            self._open(handle)
        for handle in self.waiting[: max(0, self.wanted - len(self.active))]:
            self._open(handle)
            if handle.accepting and handle.state is ReplicaState.READY:
                self._waited = self.answers(now) or self._waited

    def _start(self, now: float) -> None:
        try:
            for _ in range(self.wanted - len(self.active)):
                self._open(self._add())
            if all(h.state is ReplicaState.READY for h in self.active):
                for _ in range(self._spares() - len(self.waiting)):
                    self._add()
        except StillStarting as still:
            self.start_at = now + still.again_s
        except (VolantError, OSError) as error:
            self.refused = error
            self.failed(f"It can't be started: {error}", now)

    def _add(self) -> ReplicaHandle:
        handle = self._launch(self.version)
        self.handles.append(handle)
        return handle

    def _open(self, handle: ReplicaHandle) -> None:
        for door in self.doors.values():
            handle.accept(door.name, door.listening)

    def _watch(self, door: Door, now: float, *, taken: bool) -> None:
        """With no replica that will accept there, the fleet watches the socket itself."""
        accepted = any(door.name in h.doors for h in self.handles)
        hopeless = self.failures >= HOPELESS and now < self.start_at
        if not accepted and not taken and (hopeless or now >= self.start_at):
            door.watch(lambda now: self._someone_waits(door, now))
        else:
            door.unwatch()
        door.step(now)

    def _someone_waits(self, door: Door, now: float) -> None:
        if now >= self.start_at:
            door.unwatch()
            self.wanted = max(self.wanted, 1)
            self._called = self._called or now
        else:
            door.apologize(self.reason(now) or "", self.start_at - now, now)

    def next_step(self, now: float, patience: Patience) -> float:
        """The `time.monotonic` at which something is due although nothing happens."""
        due = [now + 60.0]
        if self.start_at > now:
            due.append(self.start_at)
        if any(door.busy for door in self.doors.values()):
            due.append(now + 0.1)
        for handle in self.handles:
            if handle.leaving:
                due.append(now + 0.5)
            elif handle.state is ReplicaState.STARTING:
                due.append(handle.started + patience.ready_s)
            elif handle.accepting:
                due.append(now + min(1.0, max(0.05, self.spec.idle_s / 4)))
            elif self.failures and handle.ready_at is not None:
                due.append(max(now + 0.1, handle.ready_at + SETTLED_S))
        return min(due)

    # leaving

    def close(self, now: float, idle_s: float) -> None:
        """Give its own door up and drain all."""
        for door in self.doors.values():
            if door.name == "internal":
                door.close()
        self.doors = {}
        for handle in self.handles:
            handle.drain(now, idle_s)

    # what others see

    def reason(self, now: float) -> str | None:
        """Why it doesn't answer, or answers badly."""
        if self.failures == 0 or self.problem is None:
            return None
        if any(settled(h, now) for h in self.active):
            return None
        wait = max(0.0, self.start_at - now)
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"Its replica ended {times}; next start in {wait:.1f} s. {self.problem}"

    def replicas(self, now: float) -> list[dict[str, Any]]:
        return [asdict(h.view(now)) for h in self.handles]


def settled(handle: ReplicaHandle, now: float) -> bool:
    """Whether it has lasted."""
    return handle.ready_at is not None and now - handle.ready_at > SETTLED_S


class StillStarting(Exception):
    """The process that replicas are forked from isn't there yet; ask again after
    `again_s` seconds."""

    def __init__(self, again_s: float = 0.05) -> None:
        super().__init__()
        self.again_s = again_s
