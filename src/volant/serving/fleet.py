"""The thread that owns listening sockets and replicas.

It waits in one `select` for connections to deployments at zero, for what replicas say,
and for orders. It never touches the database, so a slow or locked one delays no
connection. Orders arrive through `post`; what they change is seen at the same turn.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volant.ports.replicas import ReplicaLauncher, ReplicaOrder
from volant.serving.replica_handle import ReplicaHandle, ServedVersion
from volant.serving.served import Desired, Patience, Served

ENTRY = "volant.serving.replica:serve"
_LONGEST_WAIT_S = 30.0

log = logging.getLogger("volant.serving")

Tokens = frozenset[str] | None
Outcome = Callable[[ServedVersion, str | None], None]


class Fleet:
    """Args:
    launcher: Forks replicas.
    logs: The folder for `<deployment>.log`.
    outcome: Called in the fleet's thread when a candidate is ready (None) or has
        failed (the reason).
    """

    def __init__(
        self,
        launcher: ReplicaLauncher,
        logs: Path,
        outcome: Outcome,
        patience: Patience,
    ) -> None:
        self._launcher = launcher
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
        self._views: Mapping[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._stopping = False
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
        self._post(lambda now: self._with(deployment, lambda s: s.abandon(revision)))

    def switch(self, deployment: str, revision: int) -> None:
        """The candidate takes the traffic; the others drain."""
        self._post(lambda now: self._with(deployment, lambda s: s.switch(revision)))

    def view(self, deployment: str) -> Mapping[str, Any] | None:
        """The latest picture, or None when it isn't served here."""
        return self._views.get(deployment)

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
        self._publish(now)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._bell.recv(4096)) == 4096:
                pass

    def _publish(self, now: float) -> None:
        views = {name: served.view(now) for name, served in self._served.items()}
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
        for name, served in self._served.items():
            if name not in wanted:
                served.close(now, self._patience.idle_s)
        for name, one in wanted.items():
            served = self._served.get(name)
            if served is None:
                self._served[name] = Served(one, self, self._patience)
            elif not served.closing:
                served.desire(one, now)

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
        self, version: ServedVersion, listening: socket.socket, memory_bytes: int | None
    ) -> ReplicaHandle:
        """Fork one replica and listen to what it says."""
        ours, theirs = socket.socketpair()
        order = ReplicaOrder(
            deployment=version.deployment,
            revision=version.revision,
            entry=ENTRY,
            spec={
                "deployment": version.deployment,
                "revision": version.revision,
                "model": version.model,
                "version": version.version,
                "model_dir": str(version.model_dir),
                "files": dict(version.files),
                "token_sha256": _listed(self._tokens),
            },
            memory_bytes=memory_bytes,
            log_path=str(self._logs / f"{version.deployment}.log"),
        )
        try:
            pid = self._launcher.launch(order, listening.fileno(), theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        handle = ReplicaHandle(version, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(handle))
        return handle

    def watch(self, listening: socket.socket, react: Callable[[float], None]) -> None:
        self._selector.register(listening, selectors.EVENT_READ, lambda: react(time.monotonic()))

    def unwatch(self, listening: socket.socket) -> None:
        self._selector.unregister(listening)

    def outcome(self, version: ServedVersion, problem: str | None) -> None:
        self._outcome(version, problem)

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
            served.gone(handle, now)


def _listed(tokens: Tokens) -> list[str] | None:
    return None if tokens is None else sorted(tokens)
