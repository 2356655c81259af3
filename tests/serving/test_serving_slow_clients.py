"""Clients that send or read as slowly as they dare: a real replica answers the others all
the while, and ends what takes too long."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time

import pytest
from hostile import answers, descriptors, processor_s, resident
from tests.serving.echoes import ECHO

INFER = "/v2/models/numeric/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
HEAD = b"POST /v2/models/numeric/infer HTTP/1.1\r\nHost: x\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# How each begins, and the byte that it sends now and then.
SLOW = {
    "the request line": (b"POST /", b"a"),
    "a header": (HEAD + b"X: ", b"y"),
    "a body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"X: y\r\n"),
    "a preface": (PREFACE[:3], b""),
    "HTTP/2 without settings": (PREFACE, b""),
    "fields without an end": (PREFACE + b"\0\0\0\4" + b"\0" * 5 + b"\0\0\1\1\0\0\0\0\1\x82", b""),
}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_serving_slow_senders_are_ended_and_hinder_nobody(numeric, wire):
    """Twenty of each kind, a byte a second, for as long as they are let: at most 30 s."""
    with numeric.connect() as other, contextlib.ExitStack() as all_of_them:
        assert wire.http(other, wire.post(INFER, BODY))[0] == 200
        had, open_before = resident(numeric.pid), descriptors(numeric.pid)
        used, began = processor_s(numeric.pid), time.monotonic()
        slow: dict[socket.socket, str] = {}
        for what, (first, _) in SLOW.items():
            for _ in range(20):
                client = all_of_them.enter_context(numeric.connect())
                client.sendall(first)
                slow[client] = what
        told: dict[socket.socket, bytes] = dict.fromkeys(slow, b"")
        waiting = set(slow)
        while waiting and time.monotonic() - began < 150:
            assert wire.http(other, wire.post(INFER, BODY))[0] == 200
            for client in select.select(list(waiting), [], [], 1.0)[0]:
                piece = b""
                with contextlib.suppress(ConnectionError):
                    piece = client.recv(1 << 16)
                told[client] += piece
                if not piece:
                    waiting.discard(client)
                    client.close()
            for client in waiting:
                with contextlib.suppress(OSError):
                    client.sendall(SLOW[slow[client]][1])
            assert resident(numeric.pid) - had < 32 << 20
        assert not waiting, {slow[client] for client in waiting}
        assert processor_s(numeric.pid) - used < 10
    for client, end in told.items():
        if end and not end.startswith(b"\0"):  # else it is HTTP/2's
            assert answers(end)[0][0] in (400, 408), slow[client]
    deadline = time.monotonic() + 30
    while descriptors(numeric.pid) > open_before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serving_one_that_reads_nothing_holds_nobody_up(echoes, wire):
    """Sixty answers of half a megabyte each wait for a client that doesn't take them."""
    replica = echoes("FP32", code=ECHO)
    values = [i + 0.5 for i in range(65_536)]
    tensor = {"name": "FP32", "shape": [1, 65_536], "datatype": "FP32", "data": values}
    small = {"name": "FP32", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    path = "/v2/models/echo/infer"
    large = wire.post(path, {"inputs": [tensor]})
    with replica.connect() as warm:
        assert wire.http(warm, large)[0] == 200
    had = resident(replica.pid)
    with replica.connect() as slow, replica.connect() as other:
        slow.settimeout(60)
        sender = threading.Thread(target=lambda: slow.sendall(large * 60))
        sender.start()
        for _ in range(50):
            assert wire.http(other, wire.post(path, {"inputs": [small]}))[0] == 200
            select.select([], [], [], 0.02)
        # It reads no more of the requests while it can't get rid of the answers.
        assert resident(replica.pid) - had < 64 << 20
        rest = bytearray()
        for _ in range(60):
            status, _, body = wire.read_answer(slow, rest=rest)
            assert status == 200
            assert json.loads(body)["outputs"][0]["data"] == values
        sender.join(30)
    assert not sender.is_alive()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_serving_one_that_never_reads_is_dropped(echoes, wire, wait_until):
    replica = echoes("FP32", code=ECHO)
    tensor = {"name": "FP32", "shape": [1, 65_536], "datatype": "FP32", "data": [0.5] * 65_536}
    raw = wire.post("/v2/models/echo/infer", {"inputs": [tensor]})
    with replica.connect() as warm:
        assert wire.http(warm, raw)[0] == 200
    open_before = descriptors(replica.pid)
    with contextlib.ExitStack() as all_of_them:
        for _ in range(10):
            client = all_of_them.enter_context(replica.connect())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while client.send(raw):
                    pass
        wait_until(lambda: descriptors(replica.pid) >= open_before + 9)
        deadline = time.monotonic() + 90
        while descriptors(replica.pid) > open_before:
            assert time.monotonic() < deadline, "they are still there"
            time.sleep(0.1)
