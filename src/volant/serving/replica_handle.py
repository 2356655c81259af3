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


class ReplicaState(StrEnum):
    STARTING = "starting"  # loads its model
    READY = "ready"  # loaded; told to accept or not, see `accepting`
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """All that a replica of one revision is started with."""

    deployment: str
    revision: int
    model: str
    version: int
    model_dir: Path
    files: Mapping[str, str]


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
        self.accepting = False
        self.started = now
        self.ready_at: float | None = None
        self.draining_since: float | None = None
        self.terminated = False
        self.last_request = now
        self.error: str | None = None
        self.requests = 0
        self.errors = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.connections = 0
        self.memory_bytes = 0
        self._rest = b""
        channel.setblocking(False)

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

    def accept(self) -> None:
        """Let it take connections, now or as soon as it is ready."""
        if not self.accepting:
            self.accepting = True
            self.tell({"type": "accept"})

    def drain(self, now: float, idle_s: float | None = None) -> None:
        """Ask it to leave; again with another `idle_s` is fine."""
        message: dict[str, Any] = {"type": "drain"}
        if idle_s is not None:
            message["idle_s"] = idle_s
        self.tell(message)
        if not self.leaving:
            self.state = ReplicaState.DRAINING
            self.accepting = False
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
        if new or self.in_flight:
            self.last_request = now - float(message.get("last_request_age_s", 0.0))
        return new

    def view(self, now: float) -> ReplicaView:
        return ReplicaView(
            deployment=self.version.deployment,
            revision=self.version.revision,
            pid=self.pid,
            state=self.state.value,
            age_s=round(now - self.started, 3),
            memory_bytes=self.memory_bytes,
            requests=self.requests,
            in_flight=self.in_flight,
        )
