"""One deployment while it is served: its public socket, the pools of its revisions, and
what should be done about them now.

The live revision's replicas accept at the public socket. Every other revision with
traffic has a Unix socket of its own, and the live replicas are told where (the traffic
table), so that they can forward its share. Which revision lives is a matter of who
accepts where: a change of it moves no connection and loads no model again.

Everything here runs in the fleet's thread and never touches the database. `step` is
the only place that starts, drains or ends replicas: it compares what is with what is
wanted, so that a missed or doubled message corrects itself at the next turn.
"""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from volant.domain.loop import ReplicaSpec
from volant.errors import Unavailable, from_dict
from volant.serving.askers import Askers
from volant.serving.desired import Desired, Other, Patience, unloaded
from volant.serving.door import Door, Watcher, internal_socket, public_socket
from volant.serving.pool import Pool
from volant.serving.replica_handle import ReplicaHandle, ReplicaState, ServedVersion
from volant.serving.tally import Tally
from volant.serving.traffic_table import TrafficTable, traffic_table
from volant.serving.trouble import Trouble, trouble

_BIND_AGAIN_S = 0.5
_CANDIDATE_LOSSES = 3  # a killed process says nothing of its model; this often, it does
_HEARD_S = 0.5  # the live replicas have read a new table by then
_UNLOADED_IDLE_S = 1.0  # a kept connection that asks nothing holds no memory up
_TAKEOVER_S = 5.0  # old replicas stay this long for new ones that are still loading


class Surroundings(Watcher, Protocol):
    """What a deployment needs of the fleet."""

    def launch(
        self,
        version: ServedVersion,
        listening: socket.socket,
        replicas: ReplicaSpec,
        traffic: TrafficTable | None,
    ) -> ReplicaHandle: ...

    def internal_path(self, deployment: str, revision: int) -> Path: ...

    def outcome(self, version: ServedVersion, problem: str | None) -> None: ...

    def ended(self, handle: ReplicaHandle) -> str | None: ...

    def lost(self, handle: ReplicaHandle, problem: str) -> None: ...

    def refused(self, version: ServedVersion, requests: int) -> None: ...

    def cold_start(self, deployment: str, seconds: float) -> None: ...

    def asked(self, handle: ReplicaHandle, message: Mapping[str, Any]) -> None: ...


class Served:
    def __init__(self, desired: Desired, around: Surroundings, patience: Patience) -> None:
        self.desired = desired
        self._around = around
        self._patience = patience
        self._pools: dict[int, Pool] = {}  # those with a part to play, by revision
        self._leaving: list[tuple[Pool, float]] = []  # the others, and since when
        self._live: Pool | None = None
        self._live_since = 0.0
        self._public: Door | None = None
        self._bind_problem: str | None = None
        self._bind_at = 0.0
        self._closing = False
        self._tally = Tally()
        self.askers = Askers()
        self.desire(desired, 0.0)

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def over(self) -> bool:
        """Closed, and no replica left."""
        return self._closing and not self.handles

    @property
    def handles(self) -> list[ReplicaHandle]:
        """All replicas of all revisions, those that leave among them."""
        return [handle for pool in self._all_pools() for handle in pool.handles]

    def _all_pools(self) -> list[Pool]:
        return [*self._pools.values(), *(pool for pool, _ in self._leaving)]

    # orders

    def desire(self, desired: Desired, now: float) -> None:
        """Take over what the records say now."""
        self.desired = desired
        live = desired.live
        if live is not None and not self._lives(live):
            self._go_live(live, now)
        for other in desired.others:
            pool = self._pool(other.version)
            if pool.auditions and pool.loaded:
                pool.auditions = False
        self._scale()
        self._dismiss(now)

    def prepare(self, version: ServedVersion) -> None:
        """Have one replica of `version` ready, without traffic if it has none yet. One
        that is there already is told of at once."""
        pool = self._pool(version)
        if pool.loaded:
            self._around.outcome(version, None)
        elif not pool.auditions:
            pool.auditions = True
            pool.losses = 0
            pool.forgive()

    def abandon(self, revision: int, now: float) -> None:
        """The candidate won't go live."""
        pool = self._pools.get(revision)
        if pool is not None:
            pool.auditions = False
            self._dismiss(now)

    def switch(self, revision: int, now: float) -> None:
        """The candidate is live from now on; the others drain as it takes over."""
        pool = self._pools.get(revision)
        if pool is not None and pool is not self._live:
            version = pool.version
            if self._live is not None and not self._live.version.loaded:
                version = unloaded(version)
            self._go_live(version, now)
            self._dismiss(now)

    def _go_live(self, version: ServedVersion, now: float) -> None:
        before = self._live
        if before is not None:
            # Its replicas leave. Should it have other traffic, that gets new ones: these
            # have clients on the public socket, who shall meet the new revision next.
            self._retire(before, now)
        found = self._pools.get(version.revision)
        if found is not None and found.version.loaded != version.loaded:
            self._retire(found, now)
        pool = self._pool(version)
        self._live, self._live_since = pool, now
        if self._public is not None:
            pool.doors["public"] = self._public
        pool.auditions = False
        pool.forgive()
        pool.scale(self.desired.replicas)
        if not version.loaded:
            return  # the next client starts one that says so
        serving = len(before.active) if before is not None else 0
        back = before is not None and not before.version.loaded  # somebody asked for it
        least = max(self.desired.replicas.min, int(back or bool(pool.handles)))
        pool.wanted = max(least, serving, pool.wanted)

    def _lives(self, version: ServedVersion) -> bool:
        live = self._live.version if self._live is not None else None
        return live is not None and (live.revision, live.loaded) == (
            version.revision,
            version.loaded,
        )

    def _retire(self, pool: Pool, now: float) -> None:
        del self._pools[pool.version.revision]
        pool.auditions = False
        pool.doors.pop("public", None)
        self._leaving.append((pool, now))

    def _pool(self, version: ServedVersion) -> Pool:
        pool = self._pools.get(version.revision)
        if pool is None:
            pool = Pool(version, self._launch, self._patience.down_s)
            self._pools[version.revision] = pool
        return pool

    def _scale(self) -> None:
        for pool in self._pools.values():
            if pool is self._live:
                pool.scale(self.desired.replicas)
                continue
            other = self._other(pool.version.revision)
            least = min(1, self.desired.replicas.min) if other and other.percent else 0
            pool.scale(replace(self.desired.replicas, min=least, spares=0))

    def _dismiss(self, now: float) -> None:
        """Let those go that are neither live, nor have traffic, nor are candidates."""
        for revision, pool in list(self._pools.items()):
            if pool is self._live or pool.auditions or self._other(revision) is not None:
                continue
            del self._pools[revision]
            self._leaving.append((pool, now))

    def _other(self, revision: int) -> Other | None:
        return next((o for o in self.desired.others if o.version.revision == revision), None)

    def close(self, now: float, idle_s: float) -> None:
        """Give the sockets up and drain everything."""
        self._closing = True
        self.askers.close()
        for pool in self._all_pools():
            pool.close(now, idle_s)
        if self._public is not None:
            self._public.close()
            self._public = None

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
        pool = self._of(handle)
        if kind == "ready" and handle.state is ReplicaState.STARTING:
            handle.state = ReplicaState.READY
            handle.ready_at = handle.last_request = now
            if pool is not None and pool.auditions:
                pool.auditions = self._other(handle.version.revision) is None
                self._around.outcome(handle.version, None)
            if handle.accepting:
                self._rebalance(handle)
                if pool is not None:
                    self._cold_start(pool, pool.answers(now))
        elif kind in ("load", "unload"):
            self._around.asked(handle, message)
        elif kind == "failed":
            handle.error = str(from_dict(message.get("error") or {}))
        elif kind == "stats":
            self._tally.add(handle, message, now)
            if pool is not None and handle.accepting:
                pool.busy(now)

    def _cold_start(self, pool: Pool, waited: float | None) -> None:
        if waited is not None and pool.version.loaded:
            self._around.cold_start(self.desired.name, waited)

    def gone(self, handle: ReplicaHandle, now: float) -> None:
        """Its control socket closed: the process has ended or is about to."""
        pool = self._of(handle)
        handle.channel.close()
        why = self._around.ended(handle)
        problem = (
            handle.error or why or "Its process ended without a word; see the deployment's log."
        )
        if not handle.leaving and not self._closing:
            self._around.lost(handle, problem)
        if pool is None:
            return
        pool.handles.remove(handle)
        if handle.leaving or self._closing or self._pools.get(pool.version.revision) is not pool:
            return
        if pool.auditions:
            self._candidate_gone(pool, problem, now, lost=handle.error is None)
            return
        pool.lost(handle, problem, now)
        if pool is self._live and self._relieved():
            pool.wanted = max(1, pool.wanted)  # those that still serve wait to be replaced

    def _candidate_gone(self, pool: Pool, problem: str, now: float, *, lost: bool) -> None:
        """Refuse it; but one that was lost by no fault of its model is started again."""
        pool.losses += lost
        if lost and pool.losses < _CANDIDATE_LOSSES:
            return
        pool.auditions = False
        self._dismiss(now)
        self._around.outcome(pool.version, problem)

    def _of(self, handle: ReplicaHandle) -> Pool | None:
        return next((pool for pool in self._all_pools() if handle in pool.handles), None)

    def _rebalance(self, newcomer: ReplicaHandle) -> None:
        """Clients keep their connections, so a new replica would get none of them."""
        others = [h for h in self.handles if h.doors & newcomer.doors and h is not newcomer]
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
        if self._public is None and now >= self._bind_at:
            self._bind(now)
        if self._public is None:
            return
        self._open_internal(now)
        relieved = self._relieved()
        for pool in list(self._pools.values()):
            pool.step(now, self._patience, relieved=relieved)
            self._cold_start(pool, pool.spared())
            if pool.auditions and pool.refused is not None:
                error, pool.refused = pool.refused, None
                lost = isinstance(error, Unavailable)  # its zygote was, while it started
                self._candidate_gone(pool, f"It can't be started: {error}", now, lost=lost)
        if self._live is not None and (refused := self._public.refused()):
            self._around.refused(self._live.version, refused)
        self._see_off(now)
        for pool in self._all_pools():
            told = self._table(pool.version.revision)
            for handle in pool.handles:
                handle.route(told)
        self.askers.answer(self._live)

    def next_step(self, now: float) -> float:
        """Seconds until something is due although nothing happens."""
        due = [now + 60.0]
        if self._public is None and not self._closing:
            due.append(self._bind_at)
        due += [pool.next_step(now, self._patience) for pool in self._pools.values()]
        if self._leaving:
            due.append(now + 0.1)
        if self._closing:
            due.append(now + 0.5)
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
        try:
            listening = public_socket(desired.host, desired.port)
        except OSError as error:
            self._bind_at = now + _BIND_AGAIN_S
            taken = error.errno == errno.EADDRINUSE
            why = "is in use by another process" if taken else f"can't be used: {error.strerror}"
            self._bind_problem = (
                f"Port {desired.port} on {desired.host} {why}. Volant tries again every "
                f"{_BIND_AGAIN_S:g} s; end the other process to let this deployment answer."
            )
            return
        self._public = Door("public", listening, self._around)
        if self._live is not None:
            self._live.doors["public"] = self._public
            self._live.wanted = max(self._live.wanted, self.desired.replicas.min)
        self._bind_problem = None

    def _open_internal(self, now: float) -> None:
        for other in self.desired.others:
            pool = self._pools.get(other.version.revision)
            if pool is None or "internal" in pool.doors or now < pool.start_at:
                continue
            try:
                path = self._around.internal_path(self.desired.name, other.version.revision)
                listening = internal_socket(path)
            except OSError as error:
                pool.failed(f"Its internal socket can't be made: {error}.", now)
                continue
            pool.doors["internal"] = Door("internal", listening, self._around, str(path))
            pool.wanted = max(pool.wanted, pool.spec.min)

    def _launch(self, version: ServedVersion) -> ReplicaHandle:
        if self._public is None:
            raise Unavailable("The deployment's port isn't open.", "It is tried again soon.")
        told = self._table(version.revision)
        handle = self._around.launch(version, self._public.listening, self.desired.replicas, told)
        handle.traffic = told
        return handle

    def _relieved(self) -> bool:
        """Whether replicas of a revision that was live still take requests."""
        return any("public" in h.doors for pool, _ in self._leaving for h in pool.handles)

    def _see_off(self, now: float) -> None:
        """Drain those without a part, as soon as nobody needs them any more."""
        for pool, since in self._leaving:
            self._replace([h for h in pool.handles if "public" in h.doors], now)
            if now - since < _HEARD_S or any("public" in h.doors for h in pool.handles):
                continue
            for handle in pool.handles:
                if not handle.leaving:
                    handle.drain(now, self._patience.idle_s)
            if pool.doors:
                pool.close(now, self._patience.idle_s)
        self._leaving = [(p, since) for p, since in self._leaving if p.handles or p.doors]

    def _replace(self, old: Sequence[ReplicaHandle], now: float) -> None:
        """Drain as many of `old`, which accept at the public door, as the live revision
        has replicas for; all of them when nobody is to take over."""
        live = self._live
        if live is None or not old:
            return
        ready = len([h for h in live.serving if "public" in h.doors])
        if ready == 0 and live.wanted:
            return
        late = now - self._live_since >= _TAKEOVER_S
        kept = 0 if late else max(0, live.wanted - ready)
        for handle in old[kept:]:
            if handle.version.loaded and not live.version.loaded:
                handle.drain(now, min(self._patience.idle_s, _UNLOADED_IDLE_S), unloaded=True)
            else:
                handle.drain(now, self._patience.idle_s)

    def _table(self, revision: int) -> TrafficTable | None:
        pools = [
            (pool, None if pool is self._live else self._other(pool.version.revision))
            for pool in self._pools.values()
        ]
        return traffic_table(pools, self.desired.sticky, revision)

    # what others see

    def view(self, now: float) -> dict[str, Any]:
        """The present state as JSON-able facts."""
        live = self._live
        reason = self._reason(now)
        serving = any(
            "public" in h.doors and h.state is ReplicaState.READY and h.version.loaded
            for h in self.handles
        )
        starting = any(h.state is ReplicaState.STARTING for h in self.handles)
        if live is not None and not live.version.loaded:
            status, reason = "unloaded", reason or "Somebody has unloaded its model."
        elif serving:
            status = "serving"
        elif reason is not None:
            status = "failing"
        else:
            status = "starting" if starting else "idle"
        return {
            "status": status,
            "reason": reason,
            "serving_revision": live.version.revision if live else None,
            "requests": self._tally.requests,
            "errors": self._tally.errors,
            "replicas": [row for pool in self._all_pools() for row in pool.replicas(now)],
            "traffic": [self._route_view(other, now) for other in self.desired.others],
        }

    def troubles(self, now: float) -> dict[int, Trouble]:
        """What the replicas of each revision suffer from, by number; see `trouble`."""
        found = {revision: trouble(pool, now) for revision, pool in self._pools.items()}
        return {revision: each for revision, each in found.items() if each is not None}

    def _route_view(self, other: Other, now: float) -> dict[str, Any]:
        revision = other.version.revision
        pool = self._pools.get(revision)
        return {
            "revision": revision,
            "version": other.version.version,
            "percent": other.percent,
            "mode": other.mode,
            "replicas": len(pool.serving) if pool is not None else 0,
            "reason": pool.reason(now) if pool is not None else None,
            **self._tally.route(revision),
        }

    def _reason(self, now: float) -> str | None:
        if self._bind_problem is not None:
            return self._bind_problem
        if self.desired.problem is not None:
            return self.desired.problem
        return self._live.reason(now) if self._live is not None else None
