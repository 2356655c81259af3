"""A listening socket that the fleet keeps while replicas come and go: the public one of
a deployment, or the internal one (a Unix socket) of a revision beside the live one.

As long as no replica accepts, the fleet watches it itself: who connects starts one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from volant.serving.apology import Apology

BACKLOG = 4096
_LONGEST_PATH = 100  # bytes; the kernel's `sun_path` holds 108 with its end

DoorName = Literal["public", "internal"]


class Watcher(Protocol):
    """The part of the fleet that a door needs."""

    def watch(self, listening: socket.socket, react: Callable[[float], None]) -> None: ...

    def unwatch(self, listening: socket.socket) -> None: ...


class Door:
    """`address` is the internal door's path, "" for the public one."""

    def __init__(
        self, name: DoorName, listening: socket.socket, watcher: Watcher, address: str = ""
    ) -> None:
        self.name: DoorName = name
        self.listening = listening
        self.address = address
        self._watcher = watcher
        self.busy = False  # some who were answered aren't gone yet
        self._watched = False
        self._apology = Apology(internal=name == "internal")

    def watch(self, react: Callable[[float], None]) -> None:
        """Call `react` when somebody waits; again does nothing."""
        if not self._watched:
            self._watched = True
            self._watcher.watch(self.listening, react)

    def unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._watcher.unwatch(self.listening)

    def apologize(self, reason: str, retry_s: float, now: float) -> None:
        """Answer all who wait with a 503."""
        self._apology.answer(self.listening, reason, retry_s, now)
        self.busy = True

    def step(self, now: float) -> None:
        """Go on with those who were answered."""
        self.busy = self._apology.step(now)

    def refused(self) -> int:
        """The predictions that were asked for here in vain, since this was last called."""
        refused, self._apology.refused = self._apology.refused, 0
        return refused

    def close(self) -> None:
        """Give the socket up; an internal one's path goes, too."""
        self.unwatch()
        self._apology.close()
        self.listening.close()
        if self.address:
            with contextlib.suppress(OSError):
                Path(self.address).unlink()


def public_socket(host: str, port: int) -> socket.socket:
    """Listen there. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(listening, (host, port))


def internal_socket(path: Path) -> socket.socket:
    """Listen on a Unix socket at `path`; one that was left there is replaced. Raises
    `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))


def _bound(listening: socket.socket, address: tuple[str, int] | str) -> socket.socket:
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def socket_folder(run: Path) -> Path:
    """A folder that only this user can enter, with room for a socket's short name:
    `run` itself, or, when its path is too long for a Unix socket, one in the machine's
    folder for temporary files that stands for it. Raises `OSError`."""
    folder = run
    if len(os.fsencode(run.absolute())) + 32 > _LONGEST_PATH:
        token = hashlib.sha256(os.fsencode(run.absolute())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"volant-{os.getuid()}-{token}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    # In a folder that all may write to, somebody else may have been there first.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    folder.chmod(0o700)
    return folder.absolute()


def socket_name(deployment: str, revision: int, number: int) -> str:
    """Short, whatever the deployment's name is. `number` tells a revision's sockets
    apart when it comes back before its earlier one is gone."""
    token = hashlib.sha256(deployment.encode()).hexdigest()[:8]
    return f"{token}-{revision}-{number}.sock"
