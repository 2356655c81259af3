"""The thread that owns listening sockets and replicas.

It waits in one `select` for connections to deployments at zero, for what replicas say,
and for orders. It never touches the database, so a slow or locked one delays no
connection. Orders arrive through `post`; what they change is seen at the same turn.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volant.domain.loop import ReplicaSpec
from volant.errors import Unavailable, VolantError
from volant.ports.replicas import ReplicaLauncher, ReplicaOrder
from volant.serving.boards import Boards
from volant.serving.desired import Desired, Patience
from volant.serving.door import socket_folder, socket_name
from volant.serving.log_files import note
from volant.serving.pool import StillStarting
from volant.serving.replica_handle import ReplicaHandle, ServedVersion
from volant.serving.repository import Ask
from volant.serving.served import Served
from volant.serving.snapshot import Snapshot
from volant.serving.traffic_table import TrafficTable
from volant.serving.trouble import Trouble

ENTRY = "volant.serving.replica:serve"
_LONGEST_WAIT_S = 30.0
_WARM_EVERY_S = 5.0  # far below what an idle zygote lives
_END_S = 0.1  # from the end of a process's control socket to its own

log = logging.getLogger("volant.serving")

Tokens = frozenset[str] | None
Outcome = Callable[[ServedVersion, str | None], None]


class Fleet:
    """Args:
    launcher: Forks replicas.
    logs: The folder for `<deployment>.log`.
    totals: The folder for what was counted until an orderly end; that of `logs` if None.
    predictions: The folder for the prediction logs, one folder a deployment; None: none.
    outcome: Called in the fleet's thread when a candidate is ready (None) or has
        failed (the reason).
    asked: Called in the fleet's thread with what clients ask of the control plane.
    """

    def __init__(
        self,
        launcher: ReplicaLauncher,
        logs: Path,
        outcome: Outcome,
        patience: Patience,
        *,
        totals: Path | None = None,
        predictions: Path | None = None,
        asked: Callable[[Ask], None] | None = None,
    ) -> None:
        self._asked = asked
        self._predictions = predictions
        self._launcher = launcher
        self.boards = Boards(totals or logs)
        self._logs = logs
        self._tokens: Tokens = None
        self._outcome = outcome
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._served: dict[str, Served] = {}
        self._orders: deque[Callable[[float], None]] = deque()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._rung)
        self._sockets = itertools.count(1)
        self._views: Mapping[str, dict[str, Any]] = {}
        self._troubles: Mapping[tuple[str, int], Trouble] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._warm_at = 0.0
        self._thread = threading.Thread(target=self._run, name="volant-fleet", daemon=True)

    # from any thread

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Drain all, kill what is left after `timeout_s`."""
        if not self._thread.is_alive():
            return
        self._post(self._close_all)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._post(self._kill_all)
            self._thread.join(5.0)

    def desire(self, desired: Sequence[Desired], tokens: Tokens) -> None:
        """These are all deployments that there should be, and the SHA-256 of the tokens
        that may predict (None: anyone may)."""
        self._post(lambda now: self._desire(desired, tokens, now))

    def prepare(self, version: ServedVersion) -> None:
        """Start a candidate; `outcome` tells how it went. Again does nothing."""
        self._post(lambda now: self._with(version.deployment, lambda s: s.prepare(version)))

    def abandon(self, deployment: str, revision: int) -> None:
        self._post(lambda now: self._with(deployment, lambda s: s.abandon(revision, now)))

    def switch(self, deployment: str, revision: int) -> None:
        """The candidate takes the traffic; the others drain."""
        self._post(lambda now: self._with(deployment, lambda s: s.switch(revision, now)))

    def view(self, deployment: str) -> Mapping[str, Any] | None:
        """The latest picture, or None when it isn't served here; its `revisions` are what
        each has counted by now, by number."""
        seen = self._views.get(deployment)
        return None if seen is None else {**seen, "revisions": self.boards.revisions(deployment)}

    def measure(self, deployment: str, revision: int) -> Snapshot:
        """What that revision has counted so far; `Snapshot.since` an earlier one tells
        of the time between them."""
        return self.boards.measure(deployment, revision)

    def trouble(self, deployment: str, revision: int) -> Trouble | None:
        """What that revision's replicas suffer from; None if they don't."""
        return self._troubles.get((deployment, revision))

    def wait_for_change(self, timeout_s: float) -> None:
        """Return when a picture changed, or after `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def _post(self, order: Callable[[float], None]) -> None:
        self._orders.append(order)
        with contextlib.suppress(BlockingIOError, OSError):
            self._ringer.send(b"!")

    # the fleet's own thread

    def _run(self) -> None:
        while not (self._stopping and not self._served):
            try:
                self._turn()
            except Exception:
                log.exception("the fleet's turn failed; it goes on")
                time.sleep(0.1)  # whatever it is, don't spin on it
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _turn(self) -> None:
        now = time.monotonic()
        wait = min((s.next_step(now) for s in self._served.values()), default=_LONGEST_WAIT_S)
        for key, _ in self._selector.select(0 if self._orders else min(wait, _LONGEST_WAIT_S)):
            key.data()
        now = time.monotonic()
        while self._orders:
            self._orders.popleft()(now)
        for name, served in list(self._served.items()):
            served.step(now)
            if served.over:
                del self._served[name]
                self.boards.end(name, keep=self._stopping)
        self._publish(now)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._bell.recv(4096)) == 4096:
                pass

    def _publish(self, now: float) -> None:
        views = {name: served.view(now) for name, served in self._served.items()}
        self._troubles = {
            (name, revision): each
            for name, served in self._served.items()
            for revision, each in served.troubles(now).items()
        }
        self._views = views
        with self._changed:
            self._changed.notify_all()

    def _desire(self, desired: Sequence[Desired], tokens: Tokens, now: float) -> None:
        if self._stopping:
            return
        if tokens != self._tokens:
            self._tokens = tokens
            for served in self._served.values():
                served.tell_all({"type": "tokens", "sha256": _listed(tokens)})
        wanted = {d.name: d for d in desired}
        self._keep_warm(desired, now)
        for name, served in self._served.items():
            if name not in wanted:
                served.close(now, self._patience.idle_s)
        for name, one in wanted.items():
            served = self._served.get(name)
            if served is None:
                self.boards.open(name)
                self._served[name] = Served(one, self, self._patience)
            elif not served.closing:
                relogged = one.log != served.desired.log
                served.desire(one, now)
                if relogged:
                    served.tell_all({"type": "log", "log": self._log_order(name)})

    def _keep_warm(self, desired: Sequence[Desired], now: float) -> None:
        """What deployed models import shall be imported when the next replica is due."""
        if now < self._warm_at:
            return
        self._warm_at = now + _WARM_EVERY_S
        versions = [v for d in desired for v in (d.live, *(o.version for o in d.others)) if v]
        for profile in {version.profile for version in versions}:
            self._launcher.warm(profile)

    def _with(self, deployment: str, act: Callable[[Served], None]) -> None:
        served = self._served.get(deployment)
        if served is not None and not served.closing:
            act(served)

    def _close_all(self, now: float) -> None:
        self._stopping = True
        for served in self._served.values():
            served.close(now, 0.2)

    def _kill_all(self, now: float) -> None:
        for served in self._served.values():
            served.kill()

    # what a deployment needs (`served.Surroundings`)

    def launch(
        self,
        version: ServedVersion,
        listening: socket.socket,
        replicas: ReplicaSpec,
        traffic: TrafficTable | None,
    ) -> ReplicaHandle:
        """Fork one replica and listen to what it says. Raises `StillStarting` instead of
        waiting for its zygote's imports: the other deployments have no time for them."""
        if not self._launcher.prepared(version.profile):
            raise StillStarting
        ours, theirs = socket.socketpair()
        place = self.boards.place(version.deployment, version.revision, version.version)
        try:
            order = self._order(version, replicas, traffic, place.message() if place else None)
            pid = self._launcher.launch(order, listening.fileno(), theirs.fileno())
        except BaseException:
            ours.close()
            self.boards.free(version.deployment, place)
            raise
        finally:
            theirs.close()
        handle = ReplicaHandle(version, pid, ours, time.monotonic())
        handle.place = place
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(handle))
        return handle

    def _order(
        self,
        version: ServedVersion,
        replicas: ReplicaSpec,
        traffic: TrafficTable | None,
        counters: Mapping[str, Any] | None,
    ) -> ReplicaOrder:
        """All that a new replica is told."""
        return ReplicaOrder(
            deployment=version.deployment,
            revision=version.revision,
            entry=ENTRY,
            spec={
                "deployment": version.deployment,
                "revision": version.revision,
                "model": version.model,
                "loaded": version.loaded,
                "version": version.version,
                "model_dir": str(version.model_dir),
                "files": dict(version.files),
                "token_sha256": _listed(self._tokens),
                "log": self._log_order(version.deployment),
                "traffic": traffic,
                "leave_s": self._patience.drain_s + self._patience.grace_s / 2,  # it says why
                "target": replicas.target,
                "counters": counters,
                "log_file": str(self._logs / f"{version.deployment}.log"),
            },
            profile=version.profile,
            memory_bytes=replicas.memory_bytes,
            cpu=replicas.cpu,
            log_path=str(self._logs / f"{version.deployment}.log"),
        )

    def _log_order(self, deployment: str) -> dict[str, Any] | None:
        """Where and how much a replica logs; None: nothing."""
        served = self._served.get(deployment)
        spec = served.desired.log if served is not None else None
        if spec is None or self._predictions is None:
            return None
        folder = self._predictions / deployment
        return {"dir": str(folder), "sample": spec.sample, "max_bytes": spec.max_bytes}

    def internal_path(self, deployment: str, revision: int) -> Path:
        """A free path for a revision's own socket. Raises `OSError`."""
        folder = socket_folder(self._logs.parent / "run")
        return folder / socket_name(deployment, revision, next(self._sockets))

    def ended(self, handle: ReplicaHandle) -> str | None:
        """How its process ended, if that was known at once and wasn't its own doing."""
        # One that leaves takes its time after it has closed its control socket.
        return self._launcher.ended(handle.pid, 0.0 if handle.leaving else _END_S)

    def lost(self, handle: ReplicaHandle, problem: str) -> None:
        """Its process has ended unasked: its own log may end without a word of that."""
        version = handle.version
        facts = {"replica": handle.pid, "revision": version.revision, "lost": problem}
        note(self._logs / f"{version.deployment}.log", facts)

    def refused(self, version: ServedVersion, requests: int) -> None:
        """So many were told that no replica of it can be started."""
        self.boards.lose(version.deployment, version.revision, version.version, requests)

    def watch(self, listening: socket.socket, react: Callable[[float], None]) -> None:
        self._selector.register(listening, selectors.EVENT_READ, lambda: react(time.monotonic()))

    def unwatch(self, listening: socket.socket) -> None:
        self._selector.unregister(listening)

    def outcome(self, version: ServedVersion, problem: str | None) -> None:
        self._outcome(version, problem)

    def cold_start(self, deployment: str, seconds: float) -> None:
        """A client waited so long for the first replica to be ready."""
        self.boards.cold_start(deployment, seconds)

    def asked(self, handle: ReplicaHandle, message: Mapping[str, Any]) -> None:
        """A client of `handle` wants the model loaded or unloaded."""
        name, loaded = handle.version.deployment, message.get("type") == "load"
        number = int(message.get("id", 0))

        def tell(error: VolantError | None) -> None:
            served = self._served.get(name)
            if error is None and served is not None and not served.closing:
                served.askers.add(handle, number, loaded=loaded)
            else:
                gone = Unavailable("The deployment ends.", "")
                handle.answer(number, error or gone)

        token = message.get("token")
        ask = Ask(
            name,
            loaded,
            None if token is None else str(token),
            lambda error: self._post(lambda now: tell(error)),
        )
        if self._asked is None:
            ask.answer(Unavailable("Nobody here loads and unloads models.", ""))
        else:
            self._asked(ask)

    def _hear(self, handle: ReplicaHandle) -> None:
        served = self._served.get(handle.version.deployment)
        messages, ended = handle.read()
        if served is None:
            return
        now = time.monotonic()
        for message in messages:
            served.heard(handle, message, now)
        if ended:
            self._selector.unregister(handle.channel)
            # What was sent here by another replica is counted there.
            self.boards.free(
                handle.version.deployment,
                handle.place,
                lost=not handle.leaving,
                cut=handle.public,
            )
            served.gone(handle, now)


def _listed(tokens: Tokens) -> list[str] | None:
    return None if tokens is None else sorted(tokens)
