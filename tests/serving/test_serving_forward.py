"""The client of another revision's replicas, against real Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from volant.serving.forward import Forwarder, Reply, Unreachable, request_bytes
from volant.serving.limits import ForwardLimits

OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ndate: now\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nhi"
)


def forward(tmp_path, serve, drive, **limits):
    """Run `drive(ask)` against a server whose connections are `serve(reader, writer)`;
    `ask()` sends one request and waits for its outcome."""
    path = str(tmp_path / "peer.sock")

    async def main():
        loop = asyncio.get_running_loop()
        forwarder = Forwarder(path, loop, ForwardLimits(sweep_s=0.02, **limits))

        async def ask(path=b"/x", body=b""):
            outcome = loop.create_future()
            request = request_bytes(b"POST", path, {b"host": b"h", b"expect": b"z"}, body)
            forwarder.send(request, outcome.set_result)
            return await outcome

        if serve is None:
            return await drive(ask)
        async with await asyncio.start_unix_server(serve, path) as server:
            try:
                return await drive(ask)
            finally:
                forwarder.close()
                server.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-l")
    )
    return head, await reader.readexactly(length)


def answering(answer=OK, times=10**6, seen=None):
    async def serve(reader, writer):
        if seen is not None:
            seen.append("connection")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(times):
                request = await read_request(reader)
                if seen is not None:
                    seen.append(request)
                writer.write(answer)
                await writer.drain()
        writer.close()

    return serve


def test_serving_forwards_and_keeps_the_connection(tmp_path):
    seen = []

    async def drive(ask):
        return [await ask(body=b"b" * n) for n in (0, 5, 300_000)]

    replies = forward(tmp_path, answering(seen=seen), drive)
    assert replies == [Reply(200, b"content-type: text/x\r\n", b"x-a: 1\r\n", b"hi")] * 3
    assert seen.count("connection") == 1
    head, body = seen[2]
    assert head.startswith(b"POST /x HTTP/1.1\r\nhost: h\r\n")
    assert b"expect" not in head
    assert body == b"b" * 5


def test_serving_forwards_many_at_once_on_few_connections(tmp_path):
    seen = []

    async def drive(ask):
        return await asyncio.gather(*(ask() for _ in range(200)))

    replies = forward(tmp_path, answering(seen=seen), drive, connections=4)
    assert {r.status for r in replies} == {200}
    assert seen.count("connection") <= 4


def test_serving_forwarding_is_bounded(tmp_path):
    async def silent(reader, writer):
        await reader.read()

    async def drive(ask):
        return await asyncio.gather(*(ask() for _ in range(10)))

    outcomes = forward(tmp_path, silent, drive, connections=2, waiting=3, answer_s=0.2)
    assert all(isinstance(o, Unreachable) for o in outcomes)
    assert sum("wait for it already" in o.reason for o in outcomes) == 5
    assert sum("within 0.2 s" in o.reason for o in outcomes) >= 2


def test_serving_a_peer_that_closes_after_each_answer_is_asked_again(tmp_path):
    seen = []

    async def drive(ask):
        replies = []
        for _ in range(5):
            replies.append(await ask())
            await asyncio.sleep(0.01)
        return replies

    replies = forward(tmp_path, answering(times=1, seen=seen), drive)
    assert [r.status for r in replies] == [200] * 5
    assert seen.count("connection") == 5


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"no http\r\n\r\n"])
def test_serving_a_peer_that_dies_is_unreachable(tmp_path, answer):
    async def drive(ask):
        return await ask()

    assert isinstance(forward(tmp_path, answering(answer, times=1), drive), Unreachable)


def test_serving_no_socket_is_unreachable(tmp_path):
    async def drive(ask):
        return await asyncio.gather(*(ask() for _ in range(5)))

    outcomes = forward(tmp_path, None, drive, connections=1)
    assert all(isinstance(o, Unreachable) for o in outcomes)


def test_serving_an_apology_is_no_answer(tmp_path):
    answer = (
        b"HTTP/1.1 503 No\r\nx-volant-apology: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )

    async def drive(ask):
        return await ask()

    assert "can be started" in forward(tmp_path, answering(answer, times=1), drive).reason


def test_serving_a_cancelled_call_closes_its_connection(tmp_path):
    ended = []

    async def silent(reader, writer):
        await reader.read()
        ended.append(True)
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "s")
        async with await asyncio.start_unix_server(silent, path):
            forwarder = Forwarder(path, loop)
            call = forwarder.send(request_bytes(b"GET", b"/", {}, b""), ended.append)
            await asyncio.sleep(0.05)
            call.cancel()
            while not ended:
                await asyncio.sleep(0.01)
            forwarder.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert ended == [True]
