"""Clients that are slow on purpose, against a server with little patience."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from volant.serving.http import Exchange
from volant.serving.http_server import HttpServer
from volant.serving.limits import HttpLimits

SHORT = HttpLimits(head_s=0.05, body_s=0.05, idle_s=0.05, write_s=0.05, linger_s=0.5)


def talk(client, *, limits: HttpLimits = SHORT, handle=None):
    """Run a server for one `await client(reader, writer)`; returns what it returns."""
    logged: list[dict] = []

    def echo(exchange: Exchange) -> None:
        exchange.answer(200, b"%d" % len(exchange.body))

    async def main():
        loop = asyncio.get_running_loop()
        server = HttpServer(loop, limits, logged.append)
        server.handle = handle or echo
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        port = listening.getsockname()[1]
        server.accept_on(listening)

        async def impatient():
            while True:
                await asyncio.sleep(0.02)
                server.sweep()

        sweeper = loop.create_task(impatient())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await client(reader, writer)
        finally:
            writer.close()
            server.drain(0)
            await server.empty.wait()
            sweeper.cancel()
            server.close()

    return asyncio.run(asyncio.wait_for(main(), 30)), logged


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (b"GET /v2 HTTP/1.1\r\nHos", "headers"),
        (b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", "body"),
    ],
)
def test_serving_half_a_request_is_given_up(sent, part):
    async def client(reader, writer):
        writer.write(sent)
        return await reader.read()

    answer, logged = talk(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert part in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert logged[0]["status"] == 408


def test_serving_trickled_headers_are_bounded():
    async def client(reader, writer):
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(100):
            writer.write(b"y" * 1000)
            await writer.drain()
            await asyncio.sleep(0)
        return await reader.read()

    answer, _ = talk(client, limits=HttpLimits())
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_serving_an_idle_connection_ends():
    async def client(reader, writer):
        return await reader.read()

    assert talk(client)[0] == b""


def test_serving_a_client_that_reads_nothing_is_dropped():
    async def client(reader, writer):
        del reader
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        transport = writer.transport
        transport.pause_reading()
        await asyncio.sleep(0.5)
        return True

    def flood(exchange: Exchange) -> None:
        exchange.answer(200, b" " * 30_000_000)

    # It ends although 30 MB never left: `talk` would otherwise wait for ever.
    assert talk(client, handle=flood)[0]


def test_serving_a_fault_of_ours_is_a_500_and_a_trace_in_the_log():
    def broken(exchange: Exchange) -> None:
        raise ZeroDivisionError

    async def client(reader, writer):
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await reader.readuntil(b"}")
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        return first, await reader.readuntil(b"}")

    (first, second), logged = talk(client, limits=HttpLimits(), handle=broken)
    assert first.startswith(b"HTTP/1.1 500 ")
    assert second.startswith(b"HTTP/1.1 500 ")
    assert any("ZeroDivisionError" in entry.get("error", "") for entry in logged)


def test_serving_a_log_flood_is_cut():
    async def client(reader, writer):
        for _ in range(50):
            writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}")

    def refuse(exchange: Exchange) -> None:
        exchange.answer(404, b"{}")

    _, logged = talk(client, limits=HttpLimits(), handle=refuse)
    assert len(logged) < 50
