"""A real replica under clients that cost: many, silent, half done, and out of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import socket
from pathlib import Path

import pytest
from tests.serving.test_serving_limits import talk

from volant.serving.limits import HttpLimits

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
INFER = "/v2/models/numeric/infer"


def close(clients):
    for client in clients:
        client.close()


def test_serving_a_thousand_idle_connections_hinder_nobody(start_replica, spec_for, wire):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    replica = start_replica(spec_for("numeric"))
    idle = []
    try:
        idle = [replica.connect() for _ in range(1000)]
        for client in idle[::100]:
            assert wire.http(client, wire.post(INFER, BODY))[0] == 200
        with replica.connect() as client:
            for _ in range(100):
                assert wire.http(client, wire.post(INFER, BODY))[0] == 200
        assert wire.http(idle[999], wire.post(INFER, BODY))[0] == 200
    finally:
        close(idle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_serving_out_of_descriptors_waits_and_goes_on(start_replica, spec_for, wire, wait_until):
    replica = start_replica(spec_for("numeric"))
    used = len(list(Path(f"/proc/{replica.pid}/fd").iterdir()))
    resource.prlimit(replica.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
    clients = [replica.connect() for _ in range(40)]
    for client in clients:
        client.sendall(wire.post(INFER, BODY))
    answered: set[int] = set()

    def served() -> int:
        ready, _, _ = select.select([c for c in clients if c.fileno() >= 0], [], [], 0)
        answered.update(clients.index(c) for c in ready)
        return len(answered)

    wait_until(lambda: served() >= 5)
    assert served() < 40
    # The others wait in the kernel's queue until there is room for them.
    for number in range(40):
        wait_until(lambda number=number: served() and number in answered)
        assert wire.read_answer(clients[number])[0] == 200
        clients[number].close()


def test_serving_sigterm_drains(start_replica, spec_for, wire):
    replica = start_replica(spec_for("numeric"))
    with replica.connect() as busy, replica.connect() as idle:
        raw = wire.post(INFER, BODY)
        for client in (busy, idle):
            assert wire.http(client, raw)[0] == 200
        busy.sendall(raw[:40])
        os.kill(replica.pid, signal.SIGTERM)
        assert idle.recv(1) == b""
        status, headers, _ = wire.http(busy, raw[40:])
        assert (status, headers["connection"]) == (200, "close")
    assert replica.message()["type"] == "stats"


def test_serving_unfinished_bodies_are_bounded_together():
    head = b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"

    async def client(reader, writer):
        host, port = writer.get_extra_info("peername")
        others = [await asyncio.open_connection(host, port) for _ in range(2)]
        for _, other in others:
            other.write(head + b" " * 40_000)
            await other.drain()
        await asyncio.sleep(0.2)
        writer.write(head + b" " * 40_000)
        refused = await reader.read()
        # Those that were there first go on; what they held is free again after.
        for its_reader, other in others:
            other.write(b" " * 20_000)
            assert (await its_reader.readuntil(b"60000")).startswith(b"HTTP/1.1 200 ")
            other.close()
        its_reader, other = await asyncio.open_connection(host, port)
        other.write(head + b" " * 60_000)
        assert (await its_reader.readuntil(b"60000")).startswith(b"HTTP/1.1 200 ")
        other.close()
        return refused

    refused, _ = talk(client, limits=HttpLimits(held_bytes=100_000))
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in refused
    assert "Too busy" in json.loads(refused.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v2 HTTP/1.1\r\n", b"GET /v2/health/live HTTP/1.1\r\n\r"]
)
def test_serving_half_closed_sockets_end(start_replica, spec_for, wire, sent):
    replica = start_replica(spec_for("numeric"))
    with replica.connect() as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    with replica.connect() as client:
        assert wire.http(client, wire.post(INFER, BODY))[0] == 200


def test_serving_killed_under_load_fails_fast(start_replica, spec_for, wire):
    replica = start_replica(spec_for("numeric"))
    clients = [replica.connect() for _ in range(20)]
    for client in clients:
        assert wire.http(client, wire.post(INFER, BODY))[0] == 200
        client.sendall(wire.post(INFER, BODY)[:-1])
    os.kill(replica.pid, signal.SIGKILL)
    for client in clients:
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    close(clients)
