"""Load from keep-alive connections: wrk where it is, else a generator of our own.

Ours is one asyncio process. It takes more of a core than wrk does, so both servers look
slower with it; the ratio between them stays a fair one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What came back: answers a second, and the 99th percentile of their times in ms."""

    rate: float
    p99_ms: float


def tool() -> str:
    """What `drive` will use."""
    return "wrk" if shutil.which("wrk") else "built-in"


def drive(url: str, body: bytes | None, connections: int, seconds: float, work: Path) -> Load:
    """Ask `url` over and over: GET, or POST with `body`. Raises `RuntimeError` for any answer
    that isn't 200."""
    if tool() == "wrk":
        return _wrk(url, body, connections, seconds, work)
    # A process of its own, so that this one's memory and threads don't disturb it.
    command = [sys.executable, "-m", "benchmarks.load", url, str(connections), str(seconds)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, input=body or b"", capture_output=True, check=True, cwd=root)
    return Load(**json.loads(done.stdout))


_LUA = """\
{request}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(99), errors.connect + errors.read + errors.write + errors.status
    + errors.timeout))
end
"""


def _wrk(url: str, body: bytes | None, connections: int, seconds: float, work: Path) -> Load:
    script = work / "load.lua"
    request = ""
    if body is not None:
        request = f"wrk.method = 'POST'\nwrk.body = [[{body.decode()}]]\n"
        request += "wrk.headers['Content-Type'] = 'application/json'"
    script.write_text(_LUA.replace("{request}", request))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    found = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, micros, p99, errors = map(float, found.split()[1:])
    if errors:
        raise RuntimeError(f"{errors:g} of {requests:g} requests failed:\n{done.stdout}")
    return Load(requests / micros * 1e6, p99 / 1000)


async def generate(url: str, body: bytes | None, connections: int, seconds: float) -> Load:
    """The built-in generator: every connection sends its next request after each answer."""
    parts = urlsplit(url)
    method = "GET" if body is None else "POST"
    head = f"{method} {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"\r\n" + (body or b"")
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    clients = [_Client(request, loop, end) for _ in range(connections)]
    began = time.perf_counter()
    for client in clients:
        await loop.create_connection(lambda client=client: client, parts.hostname, parts.port)
    await asyncio.gather(*(client.done for client in clients))
    took = time.perf_counter() - began
    times = sorted(t for client in clients for t in client.times)
    return Load(len(times) / took, times[int(0.99 * (len(times) - 1))] * 1000)


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, loop: asyncio.AbstractEventLoop, end: float) -> None:
        self._request, self._loop, self._end = request, loop, end
        self.times: list[float] = []
        self.done: asyncio.Future[None] = loop.create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        self._sent = self._loop.time()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(rest) < int(length or 0):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(head.decode()))
            return
        self._buffer = b""
        now = self._loop.time()
        self.times.append(now - self._sent)
        if now < self._end:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.close()


if __name__ == "__main__":
    import uvloop

    asked, count, duration = sys.argv[1:]
    posted = sys.stdin.buffer.read() or None
    result = uvloop.run(generate(asked, posted, int(count), float(duration)))
    print(json.dumps({"rate": result.rate, "p99_ms": result.p99_ms}))
