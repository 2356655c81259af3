"""The replica's end of its control socket: one JSON object a line, and sockets along
with some of them (`SCM_RIGHTS`), which is why no asyncio transport reads it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from volant.serving.lifeline import hang_up

_ROOM = 8  # descriptors that come with one read, at most


class Control:
    """`told` is called with each message, and with the socket that came along when the
    message says `"on"`; `lost` when nobody looks after this process any more."""

    def __init__(
        self,
        control: socket.socket,
        loop: asyncio.AbstractEventLoop,
        told: Callable[[Mapping[str, Any], socket.socket | None], None],
        lost: Callable[[], None],
    ) -> None:
        control.setblocking(False)
        self._socket = control
        self._loop = loop
        self._told = told
        self._lost = lost
        self._rest = b""
        self._passed: deque[int] = deque()
        loop.add_reader(control.fileno(), self._readable)

    def say(self, message: Mapping[str, Any]) -> bool:
        """Send; false for one that finds no room, or nobody: it is left out."""
        try:
            self._socket.send(orjson.dumps(message) + b"\n")
        except OSError:
            return False  # full, or the other end is gone, which reading tells
        return True

    def close(self) -> None:
        """Say no more; the other end sees that this process ends."""
        self._loop.remove_reader(self._socket.fileno())
        hang_up(self._socket)
        while self._passed:
            os.close(self._passed.popleft())

    def _readable(self) -> None:
        try:
            data, passed, _, _ = socket.recv_fds(self._socket, 65536, _ROOM)
        except BlockingIOError:
            return
        except OSError:
            data, passed = b"", []
        self._passed.extend(passed)
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._lost()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = orjson.loads(line)
            # In the order of their messages, which is the order of their sockets.
            fd = self._passed.popleft() if "on" in message and self._passed else None
            self._told(message, None if fd is None else socket.socket(fileno=fd))
