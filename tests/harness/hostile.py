"""What hostile clients send and do, and what it costs a process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

TIMEOUT_S = 30.0  # whatever is sent, the connection is answered or ended in this time


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_s(pid: int) -> float:
    """Seconds of processor time that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def whole_answer(port: int, *pieces: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send `pieces`, say that no more comes, and read to the end. A server that neither
    answers nor closes in `timeout_s` raises `TimeoutError`."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        return rest_of(client)


def rest_of(client: socket.socket) -> bytes:
    """All that still comes; a reset is an end."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            data += piece
    return bytes(data)


def answers(data: bytes) -> list[tuple[int, Any]]:
    """The HTTP/1.1 answers that lie one behind the other: status, and the JSON body (bytes
    if it is none). Anything that isn't one raises."""
    found: list[tuple[int, Any]] = []
    while data:
        head, mark, rest = data.partition(b"\r\n\r\n")
        assert mark, head
        line, *fields = head.split(b"\r\n")
        assert line.startswith(b"HTTP/1.1 "), line
        status = int(line.split()[1])
        if status == 100:
            data = rest
            continue
        headers = dict(field.lower().split(b": ", 1) for field in fields)
        size = int(headers[b"content-length"])
        body, data = rest[:size], rest[size:]
        assert len(body) == size, "a body was cut short"
        try:
            found.append((status, json.loads(body)))
        except ValueError:
            found.append((status, body))
    return found
