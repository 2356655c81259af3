"""How a serving process comes to life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """`entry` (`module:function`) is called as `fn(spec, listen_fd, control_fd)` in a
    fork of the `profile` zygote; `control_fd` is one end of a stream socket pair whose
    other end stays with the launcher's caller."""

    deployment: str
    revision: int
    entry: str
    spec: Mapping[str, Any]
    profile: str = "serve"
    memory_bytes: int | None = None
    log_path: str | None = None


class ReplicaLauncher(Protocol):
    def launch(self, order: ReplicaOrder, listen_fd: int, control_fd: int) -> int:
        """Fork one replica that owns copies of both descriptors; returns its pid.
        The caller sees the replica's end as end-of-file on its side of the control
        socket. A replica ends itself when that side closes."""
        ...

    def warm(self, profile: str) -> None:
        """A hint that a replica of this profile comes soon. Returns at once."""
        ...
