"""The pieces of `make bench-serving`; what they measure is for the benchmark itself."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def stalling() -> Generator[tuple[int, threading.Event]]:
    """A server that answers at once, but once waits for three quarters of a second."""
    stall = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(line: socket.socket) -> None:
        with line:
            while line.recv(65536):
                if stall.is_set():
                    time.sleep(0.75)
                    stall.clear()
                line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    def accept() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1], stall
    listening.close()


def test_serving_steady_load_charges_a_stall_to_all_who_were_due(
    stalling: tuple[int, threading.Event],
):
    from benchmarks.serving.steady import run

    port, stall = stalling
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    stall.set()
    found = run("127.0.0.1", port, request, rate=100, seconds=1, lines=1)
    assert (found.requests, found.failed) == (100, 0)
    # A closed loop would see one slow request of a hundred; here three quarters of them were
    # due while the server stood still.
    assert found.p50_ms > 100
    assert found.p99_ms > 600


def test_serving_questions_and_answers_of_each_wire():
    from benchmarks.serving import wires

    rows = [[float(i) for i in range(30)]] * 2
    plain = wires.OIP.ask("forest", rows)
    assert plain.path == "/v2/models/forest/infer"
    tensor = json.loads(plain.body)["inputs"][0]
    assert (tensor["shape"], len(tensor["data"])) == ([2, 30], 60)

    binary = wires.OIP_BINARY.ask("forest", rows)
    length = int(binary.headers["Inference-Header-Content-Length"])
    assert struct.unpack("<60f", binary.body[length:]) == tuple(rows[0]) * 2

    head = {
        "outputs": [
            {"datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}},
            {"datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}},
        ]
    }
    text = json.dumps(head).encode()
    body = text + struct.pack("<2q", 1, 0) + struct.pack("<4f", 0, 1, 1, 0)
    headers = {"inference-header-content-length": str(len(text))}
    assert wires.OIP_BINARY.labels(body, headers) == [1, 0]
    assert wires.OIP.labels(b'{"outputs":[{"data":[1,0]}]}', {}) == [1, 0]
    assert wires.MLFLOW.labels(b'{"predictions":{"label":[1],"p":[[0,1]]}}', {}) == [1]
    assert wires.MLFLOW.labels(b'{"predictions":[0]}', {}) == [0]
    assert wires.BENTO.labels(b"[[1.0,0.2,0.8]]", {}) == [1]
    assert wires.NAMED.labels(b'{"prediction":[1]}', {}) == [1]


def test_serving_grpc_message_is_what_protobuf_would_write():
    from benchmarks.serving import grpc_rate
    from google.protobuf.internal import decoder

    rows = [[1.0] * 30]
    message = grpc_rate.framed("forest", rows)
    assert message[:1] == b"\0"
    assert int.from_bytes(message[1:5], "big") == len(message) - 5
    fields: dict[int, bytes] = {}
    at = 5
    while at < len(message):
        key, at = decoder._DecodeVarint(message, at)
        size, at = decoder._DecodeVarint(message, at)
        fields[key >> 3] = message[at : at + size]
        at += size
    assert fields[1] == b"forest"
    assert fields[7] == struct.pack("<30f", *rows[0])
    assert b"rows" in fields[5]
    assert b"FP32" in fields[5]
    assert bytes((3 << 3 | 2, 2, 1, 30)) in fields[5]


def test_serving_goals_are_ratios_to_the_best_of_their_kind():
    from benchmarks.load import Load
    from benchmarks.serving import report
    from benchmarks.serving.throughput import FLOOR, OURS, Cell, Scores

    scores = Scores(absent={"Ray Serve, ONNX": "its environment isn't made yet"})
    cell = Cell("forest", 1, 16)
    for title, kind, rate, default in (
        (OURS, "onnx", 1000.0, True),
        (FLOOR, "hello", 900.0, True),
        ("A", "onnx", 90.0, True),
        ("B", "onnx", 200.0, True),
        ("A", "sklearn", 5.0, True),
        ("A, batching", "sklearn", 50.0, False),
    ):
        for factor in (0.5, 1, 3):
            scores.add(title, kind, cell, Load(rate * factor, 2.0, 1.0, 100), default)
    rows = {row[0].partition(": against ")[2]: row for row in report.goals(scores, (16,))}
    assert rows["the uvicorn floor"][2:4] == ("1.11 ×", "yes")
    assert rows["the best peer, same ONNX"][2:] == ("5.00 ×", "**no**", "B: 200 req/s")
    assert rows["the best peer's default"][2:] == ("200 ×", "yes", "A: 5.00 req/s")
    assert rows["the best peer told to batch"][1:4] == ("", "20 ×", "")
    assert report.missed(scores, (16,), ()) == 1
    text = report.throughput(scores)
    assert text.index("| Volant |") < text.index("| uvicorn hello |") < text.index("| B |")
    assert "Ray Serve, ONNX: its environment" in report.absent(scores)


def test_serving_a_peer_is_measured_only_if_it_answers_like_scikit_learn(
    stalling: tuple[int, threading.Event],
):
    from benchmarks.serving import wires
    from benchmarks.serving.contestants import prove
    from benchmarks.serving.data import Asked
    from benchmarks.serving.servers import NotServing

    asked = Asked([[0.0] * 30], [1])
    with pytest.raises(NotServing, match="unreadable answer"):
        prove(stalling[0], wires.NAMED, "forest", asked)


def test_serving_pins_name_every_peer_and_no_address():
    from benchmarks.serving import contestants, environments

    for peer in contestants.PEERS:
        assert environments.version(peer.name) != "?"
        pins = (environments.PINS / f"{peer.name}.txt").read_text()
        assert "://" not in pins
        assert all("==" in line for line in pins.splitlines())
        assert (contestants.PROGRAMS / f"{peer.name}.py").exists()


@pytest.mark.clients
def test_serving_the_whole_thing_runs_without_peers(tmp_path: Path):
    from benchmarks.serving.__main__ import main

    report = tmp_path / "figures.json"
    main(["--quick", "--json", str(report)])
    found = json.loads(report.read_text())
    servers = {score["title"] for score in found["scores"]}
    assert servers == {"Volant", "uvicorn hello"}
    assert all(score["failed"] == 0 and score["rate"] > 0 for score in found["scores"])
    figures = {figure["figure"]: figure for figure in found["figures"]}
    assert figures["lost of 50 clients at zero replicas"]["ours"]["median"] == 0
    assert figures["failed over rolling switches, 64 connections"]["ours"]["median"] == 0
