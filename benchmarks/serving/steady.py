"""Requests at a constant rate, whatever the server does: `python -m benchmarks.serving.steady`.

Every request has its time. Its latency counts from that time, not from when a connection was
free or the client got round to it, so that a server that stalls is charged for everybody who
would have come meanwhile ("coordinated omission", Gil Tene, "How NOT to Measure Latency").
One process, blocking nowhere but in `select`, whose timeout has microseconds.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import cores
from benchmarks.serving.wires import Question

_AFTER_S = 5.0  # how long answers are waited for after the last request


@dataclass(frozen=True)
class Steady:
    """Latencies in ms, over all requests that were due; `failed` had no good answer."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    late_ms: float
    """How late the client itself was, 99th percentile: the measurement's own error."""


class _Line:
    """One kept connection: idle, or with one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.due = 0.0
        self._got = b""
        self._length = -1
        self.socket = socket.create_connection(self._to, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._got, self._length = b"", -1
        self.socket.sendall(request)

    def answered(self) -> bool | None:
        """True or False for a whole answer, good or not; None before it is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self._got += data
        if self._length < 0:
            head, found, _ = self._got.partition(b"\r\n\r\n")
            if not found:
                return None
            size = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._length = len(head) + 4 + int(size or 0)
        if len(self._got) < self._length:
            return None
        return self._got.startswith(b"HTTP/1.1 200")

    def again(self) -> None:
        """A new connection in the place of a broken one."""
        self.socket.close()
        self.__init__(*self._to)


def run(host: str, port: int, request: bytes, rate: float, seconds: float, lines: int) -> Steady:
    """Send `rate` requests a second over `lines` connections."""
    idle = deque(_Line(host, port) for _ in range(lines))
    busy: list[_Line] = []
    times: list[float] = []
    late: list[float] = []
    failed = 0
    total = int(rate * seconds)
    waiting: deque[float] = deque()
    start = time.perf_counter() + 0.05
    sent = 0
    end = start + seconds + _AFTER_S
    while len(times) + failed < total:
        now = time.perf_counter()
        if now > end:
            failed = total - len(times)
            break
        while sent < total and start + sent / rate <= now:
            waiting.append(start + sent / rate)
            late.append(now - waiting[-1])
            sent += 1
        while waiting and idle:
            line, due = idle.popleft(), waiting.popleft()
            line.send(request, due)
            busy.append(line)
        next_due = start + sent / rate if sent < total else end
        ready, _, _ = select.select(busy, (), (), max(0.0, next_due - time.perf_counter()))
        for line in ready:
            try:
                good = line.answered()
            except OSError:
                good = False
                line.again()
            if good is None:
                continue
            busy.remove(line)
            idle.append(line)
            if good:
                times.append(time.perf_counter() - line.due)
            else:
                failed += 1
    times.sort()
    late.sort()
    return Steady(total, failed, _at(times, 0.5), _at(times, 0.99), _at(times, 1), _at(late, 0.99))


def _at(values: list[float], part: float) -> float:
    return values[int(part * (len(values) - 1))] * 1000 if values else float("inf")


def drive(url_port: int, question: Question, rate: float, seconds: float, lines: int) -> Steady:
    """`run`, in a process of its own on the load's core."""
    order = {
        "port": url_port,
        "path": question.path,
        "headers": dict(question.headers),
        "body": question.body.decode("latin-1"),
        "rate": rate,
        "seconds": seconds,
        "lines": lines,
    }
    with cores.on(cores.LOAD):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving.steady"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    return Steady(**json.loads(done.stdout))


def _request(order: Mapping[str, Any]) -> bytes:
    body = order["body"].encode("latin-1")
    head = f"POST {order['path']} HTTP/1.1\r\nHost: 127.0.0.1:{order['port']}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in order["headers"].items())
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    found = run(
        "127.0.0.1",
        asked["port"],
        _request(asked),
        asked["rate"],
        asked["seconds"],
        asked["lines"],
    )
    print(json.dumps(asdict(found)))
