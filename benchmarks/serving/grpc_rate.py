"""Unary gRPC calls a second, by h2load (nghttp2), against peers that speak the same protocol.

The message is written by hand: one `ModelInferRequest` with raw FP32 contents, so that no
client library stands between the figure and the server.
Wire format: https://protobuf.dev/programming-guides/encoding/, fields:
https://github.com/kserve/open-inference-protocol (open_inference_grpc.proto).
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.line import Line, Samples
from benchmarks.serving import contestants, cores, environments, servers
from benchmarks.serving.behaviour import Found, Missing
from benchmarks.serving.contestants import Peer
from benchmarks.serving.data import WIDTH
from benchmarks.serving.ours import Ours
from benchmarks.serving.wires import Rows, packed

PATH = "/inference.GRPCInferenceService/ModelInfer"
FIGURE = "gRPC unary, forest"
CONNECTIONS = (1, 16)
STREAMS = 4
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def framed(model: str, rows: Rows) -> bytes:
    """One uncompressed gRPC message."""
    shape = _field(3, _varint(len(rows)) + _varint(WIDTH))  # packed int64
    tensor = _field(1, b"rows") + _field(2, b"FP32") + shape
    message = _field(1, model.encode()) + _field(5, tensor) + _field(7, packed(rows))
    return b"\0" + len(message).to_bytes(4, "big") + message


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def measure_all(
    ours: Ours, peers: Sequence[Peer], work: Path, seconds: float, rounds: int
) -> Sequence[Found]:
    """Volant's and the peers' calls a second; `Missing` without h2load or a server."""
    if shutil.which("h2load") is None:
        return [Missing(FIGURE, "h2load isn't here: apt-get install nghttp2-client")]
    body = work / "grpc.body"
    body.write_bytes(framed("forest", ours.asked["forest"].rows[:1]))
    found: list[Found] = []
    best: dict[int, tuple[str, list[float]]] = {}
    for peer in (each for each in peers if each.grpc):
        try:
            with contestants.running(
                peer, "onnx", "forest", ours.models, work, ours.asked
            ) as running:
                for connections in CONNECTIONS:
                    rates = _rates(running.grpc_port, connections, seconds, rounds, body)
                    known = best.get(connections)
                    if known is None or statistics.median(rates) > statistics.median(known[1]):
                        best[connections] = (peer.title, rates)
        except (servers.NotServing, environments.NotInstalled, RuntimeError) as error:
            found.append(Missing(f"{FIGURE}, {peer.title}", str(error)[:300]))
    for connections in CONNECTIONS:
        figure = f"{FIGURE}, {connections} × {STREAMS} streams"
        try:
            own = _rates(ours.port("forest"), connections, seconds, rounds, body)
        except RuntimeError as error:
            found.append(Missing(figure, str(error)[:300]))
            continue
        title, rates = best.get(connections, ("", []))
        floor = Samples(rates, f"the best peer, {title}, the same ONNX model") if rates else None
        found.append(Line(figure, "1/s", Samples(own), floor, ratio_at_least=10 if floor else None))
    return found


def _rates(port: int, connections: int, seconds: float, rounds: int, body: Path) -> Sequence[float]:
    _prove(port, body)
    return [_h2load(port, connections, s, body) for s in (1, *[seconds] * rounds)][1:]


def _prove(port: int, body: Path) -> None:
    """One call whose trailers are read: h2load looks at HTTP's status alone."""
    done = subprocess.run(
        ["nghttp", "-nv", "-d", str(body), *_HEADERS, f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    status = re.search(r"grpc-status: (\d+)", done.stdout)
    if status is None or status[1] != "0":
        said = re.search(r"grpc-message: (.*)", done.stdout)
        raise RuntimeError(f"no gRPC answer: {said[1] if said else done.stdout[-200:]!r}")


_RATE = re.compile(r"finished in .*?, ([\d.]+) req/s")
_STATUS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


def _h2load(port: int, connections: int, seconds: float, body: Path) -> float:
    command = ["h2load", "-t1", f"-c{connections}", f"-m{STREAMS}", f"-D{max(1, round(seconds))}"]
    command += ["-d", str(body), *_HEADERS]
    with cores.on(cores.LOAD):
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{PATH}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    rate, status = _RATE.search(done.stdout), _STATUS.search(done.stdout)
    if rate is None or status is None or not int(status[1]):
        raise RuntimeError("no call succeeded")
    if any(int(status[i]) for i in (2, 3, 4)):
        raise RuntimeError(f"calls failed: {status[0]}")
    return float(rate[1])
