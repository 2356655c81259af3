"""What clients hear when no replica can be started: a 503 with the reason, at once,
instead of a connection that hangs until they give up."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass

_AT_ONCE = 64
APOLOGY_HEADER = "x-volant-apology"  # on an internal socket: nobody has seen the request
_LINGER_S = 1.0  # closing with unread bytes would reset the connection before they read
# How predictions begin, HTTP/2's with its preface. Health checks and scrapes are read.
_ASKS = (b"POST ", b"PRI ")


@dataclass(slots=True)
class _Guest:
    """One who was answered, until it is gone. `silent`: it hasn't said yet what it wants."""

    client: socket.socket
    deadline: float
    silent: bool = True


class Apology:
    """Accepts on a deployment's socket and answers every connection the same. `refused`
    are the predictions that were asked for in vain."""

    def __init__(self, *, internal: bool = False) -> None:
        self._mark = f"{APOLOGY_HEADER}: 1\r\n".encode() if internal else b""
        self._lingering: list[_Guest] = []
        self.refused = 0

    def answer(self, listening: socket.socket, reason: str, retry_s: float, now: float) -> None:
        """Answer those who wait in `listening`; call `step` later."""
        body = json.dumps({"error": f"No replica can serve now. {reason}"}).encode()
        response = (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
            b"%sretry-after: %d\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (self._mark, max(1, round(retry_s)), len(body), body)
        )
        for _ in range(_AT_ONCE):
            try:
                client, _ = listening.accept()
            except OSError:
                return
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.send(response)
                client.shutdown(socket.SHUT_WR)
            self._lingering.append(_Guest(client, now + _LINGER_S))

    def step(self, now: float) -> bool:
        """Read what they still send, and close; whether some are left."""
        left: list[_Guest] = []
        for guest in self._lingering:
            if self._listens(guest) and now < guest.deadline:
                left.append(guest)
            else:
                guest.client.close()
        self._lingering = left
        return bool(left)

    def close(self) -> None:
        """Close them all now."""
        self.step(float("inf"))

    def _listens(self, guest: _Guest) -> bool:
        try:
            while data := guest.client.recv(65536):
                self.refused += guest.silent and data.startswith(_ASKS)
                guest.silent = False
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
