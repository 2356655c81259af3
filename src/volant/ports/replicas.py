"""How a serving process comes to life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """`entry` (`module:function`) is called as `fn(spec, listen_fd, control_fd)` in a
    fork of the `profile` zygote; `control_fd` is one end of a stream socket pair whose
    other end stays with the launcher's caller. `cpu` is in cores; both limits are held
    as well as the machine allows."""

    deployment: str
    revision: int
    entry: str
    spec: Mapping[str, Any]
    profile: str = "serve"
    memory_bytes: int | None = None
    cpu: float | None = None
    log_path: str | None = None


class ReplicaLauncher(Protocol):
    def launch(self, order: ReplicaOrder, listen_fd: int, control_fd: int) -> int:
        """Fork one replica that owns copies of both descriptors; returns its pid.
        The caller sees the replica's end as end-of-file on its side of the control
        socket. A replica ends itself when that side closes."""
        ...

    def prepared(self, profile: str) -> bool:
        """Whether `launch` would fork at once. If not, what it takes is begun. Raises the
        `VolantError` of a beginning that failed, once."""
        ...

    def ended(self, pid: int, wait_s: float) -> str | None:
        """A sentence on how a launched process ended, when it was ended from outside or
        for exceeding a limit; None when it ended by itself, or when that isn't known
        within `wait_s` seconds. Call it once, when its control socket is at its end: its
        limits go, too."""
        ...

    def warm(self, profile: str) -> None:
        """A hint that a replica of this profile comes soon. Returns at once."""
        ...
