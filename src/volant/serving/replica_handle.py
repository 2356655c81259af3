"""The controller's end of one replica."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from volant.domain.deployment import ReplicaView
from volant.errors import VolantError
from volant.serving.board import Place
from volant.serving.door import DoorName


class ReplicaState(StrEnum):
    STARTING = "starting"  # loads its model
    READY = "ready"  # loaded; told to accept or not, see `doors`
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """All that a replica of one revision is started with. `profile` names the zygote
    that it is forked from: what its runtime imports. Not `loaded`, it says only that its
    model isn't, and takes the request to load it."""

    deployment: str
    revision: int
    model: str
    version: int
    model_dir: Path
    files: Mapping[str, str]
    profile: str = "serve"
    loaded: bool = True


class ReplicaHandle:
    """One running replica: its control socket, its state, what it last said.

    Times are seconds of `time.monotonic`.
    """

    def __init__(
        self, version: ServedVersion, pid: int, channel: socket.socket, now: float
    ) -> None:
        self.version = version
        self.pid = pid
        self.channel = channel
        self.state = ReplicaState.STARTING
        self.doors: set[str] = set()  # where it was told to accept
        self.public = False  # it has been asked by clients themselves
        self.traffic: Mapping[str, Any] | None = None  # the last table it was told
        self.started = now
        self.ready_at: float | None = None
        self.draining_since: float | None = None
        self.terminated = False
        self.last_request = now
        self.error: str | None = None
        self.requests = 0
        self.errors = 0
        self.passed_on = 0  # requests that another revision answered for it
        self.routes: dict[str, Mapping[str, Any]] = {}  # its counts for other revisions
        self.in_flight = 0
        self.peak_in_flight = 0
        self.connections = 0
        self.memory_bytes = 0
        self.place: Place | None = None  # its row of the deployment's counters
        self._rest = b""
        channel.setblocking(False)

    @property
    def accepting(self) -> bool:
        """Whether it takes connections, or will as soon as it is ready."""
        return bool(self.doors)

    @property
    def spare(self) -> bool:
        """Whether it only waits for its turn."""
        return not self.doors and self.state is ReplicaState.READY

    @property
    def leaving(self) -> bool:
        return self.state is ReplicaState.DRAINING

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The messages that are there, and whether the replica is gone."""
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return [], False
        except OSError:
            return [], True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], not data

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send; a replica that is gone or reads nothing shows as such elsewhere."""
        with contextlib.suppress(OSError):
            self.channel.send(json.dumps(message).encode() + b"\n")

    def accept(self, door: DoorName, listening: socket.socket) -> None:
        """Let it take connections there, now or as soon as it is ready. The public
        socket came with its fork; the internal one goes along with the message."""
        if door in self.doors or self.leaving:
            return
        if door == "public":
            self.tell({"type": "accept"})
        else:
            line = json.dumps({"type": "accept", "on": door}).encode() + b"\n"
            try:
                socket.send_fds(self.channel, [line], [listening.fileno()])
            except OSError:
                return  # full or gone: asked again at the next step, or seen as ended
        self.doors.add(door)
        self.public = self.public or door == "public"

    def answer(self, number: int, error: VolantError | None = None) -> None:
        """What it asked for with that number is done, or can't be."""
        told = None if error is None else error.to_dict()
        self.tell({"type": "answer", "id": number, "error": told})

    def route(self, traffic: Mapping[str, Any] | None) -> None:
        """Tell it the table of the other revisions, if it doesn't know it."""
        if traffic != self.traffic:
            self.traffic = traffic
            self.tell({"type": "traffic", **(traffic or {"routes": [], "sticky": None})})

    def drain(self, now: float, idle_s: float | None = None, *, unloaded: bool = False) -> None:
        """Ask it to leave; again with another `idle_s` is fine. `unloaded`: it shall
        predict no more than what it has begun."""
        message: dict[str, Any] = {"type": "drain"}
        if unloaded:
            message["unloaded"] = True
        if idle_s is not None:
            message["idle_s"] = idle_s
        self.tell(message)
        if not self.leaving:
            self.state = ReplicaState.DRAINING
            self.doors = set()
            self.draining_since = now

    def signal(self, number: signal.Signals) -> None:
        """To the process, as long as its control socket is open."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)

    def take_stats(self, message: Mapping[str, Any], now: float) -> int:
        """Remember what it said; returns how many requests are new."""
        new = int(message.get("requests", 0)) - self.requests
        self.requests += new
        self.errors = int(message.get("errors", 0))
        self.in_flight = int(message.get("in_flight", 0))
        self.peak_in_flight = int(message.get("peak_in_flight", self.in_flight))
        self.connections = int(message.get("connections", 0))
        self.memory_bytes = int(message.get("memory_bytes", 0))
        passed_on, self.passed_on = self.passed_on, int(message.get("passed_on", 0))
        if new or self.in_flight or passed_on != self.passed_on:
            self.last_request = now - float(message.get("last_request_age_s", 0.0))
        return new

    @property
    def _word(self) -> str:
        if self.state is ReplicaState.READY and not self.version.loaded:
            return "unloaded"
        return "spare" if self.spare else self.state.value

    def view(self, now: float) -> ReplicaView:
        return ReplicaView(
            deployment=self.version.deployment,
            revision=self.version.revision,
            pid=self.pid,
            state=self._word,
            age_s=round(now - self.started, 3),
            memory_bytes=self.memory_bytes,
            requests=self.requests,
            in_flight=self.in_flight,
        )
