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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

JSON: Mapping[str, str] = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Load:
    """What came back: good answers a second, the median and the 99th percentile of their
    times in ms, how many were asked, and how many of them failed."""

    rate: float
    p99_ms: float
    p50_ms: float = 0.0
    requests: int = 0
    failed: int = 0


def tool() -> str:
    """What `drive` will use."""
    return "wrk" if shutil.which("wrk") else "built-in"


def drive(url: str, body: bytes | None, connections: int, seconds: float, work: Path) -> Load:
    """Ask `url` over and over: GET, or POST with `body`. Raises `RuntimeError` for any answer
    that isn't 200."""
    load = measure(url, body, connections, seconds, work)
    if load.failed:
        raise RuntimeError(f"{load.failed} of {load.requests} requests to {url} failed")
    return load


def measure(
    url: str,
    body: bytes | None,
    connections: int,
    seconds: float,
    work: Path,
    headers: Mapping[str, str] = JSON,
) -> Load:
    """As `drive`, but counts failures. The built-in generator knows none: it raises."""
    if tool() == "wrk":
        return _wrk(url, body, connections, seconds, work, headers)
    # A process of its own, so that this one's memory and threads don't disturb it.
    command = [sys.executable, "-m", "benchmarks.load", url, str(connections), str(seconds)]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, json.dumps(dict(headers))],
        input=body or b"",
        capture_output=True,
        check=False,
        cwd=root,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return Load(**json.loads(done.stdout))


_LUA = """\
{request}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
"""


def _wrk(
    url: str,
    body: bytes | None,
    connections: int,
    seconds: float,
    work: Path,
    headers: Mapping[str, str],
) -> Load:
    script = work / "load.lua"
    request = ""
    if body is not None:
        (work / "load.body").write_bytes(body)
        request = f'local body = io.open("{work / "load.body"}", "rb")\n'
        request += 'wrk.method = "POST"\nwrk.body = body:read("*a")\nbody:close()\n'
        request += "".join(f'wrk.headers["{k}"] = "{v}"\n' for k, v in headers.items())
    script.write_text(_LUA.replace("{request}", request))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=20s"]
    done = subprocess.run(
        [*command, "-s", str(script), url], capture_output=True, text=True, check=True
    )
    found = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, micros, p50, p99, refused, broken = map(float, found.split()[1:])
    # Requests that broke have no answer, so that they aren't among `requests`.
    return Load(
        (requests - refused) / micros * 1e6,
        p99 / 1000,
        p50 / 1000,
        int(requests + broken),
        int(refused + broken),
    )


async def generate(
    url: str,
    body: bytes | None,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] = JSON,
) -> Load:
    """The built-in generator: every connection sends its next request after each answer."""
    parts = urlsplit(url)
    method = "GET" if body is None else "POST"
    head = f"{method} {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    if body is not None:
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head += f"Content-Length: {len(body)}\r\n"
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
    p50, p99 = (times[int(part * (len(times) - 1))] * 1000 for part in (0.5, 0.99))
    return Load(len(times) / took, p99, p50, len(times))


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

    asked, count, duration, named = sys.argv[1:]
    posted = sys.stdin.buffer.read() or None
    result = uvloop.run(generate(asked, posted, int(count), float(duration), json.loads(named)))
    print(json.dumps(asdict(result)))
