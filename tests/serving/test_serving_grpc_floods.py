"""HTTP/2 as a weapon: floods, bombs and windows that never open. Each ends its connection
at most; the replica keeps its memory, its descriptors and its other clients."""

from __future__ import annotations

import struct

import grpc
import pytest
from hostile import descriptors, processor_s, resident, whole_answer
from tests.serving.grpc_client import ROWS
from tests.serving.test_serving_grpc_frames import HEAD, PREFACE, Peer, block, frame, raw, request

LARGE = b"\0" + struct.pack(">I", 2**24)
# What comes first, and what comes again and again; up to 32 MiB.
FLOODS = {
    "settings": ([], frame(4, 0, 0, struct.pack(">HI", 3, 100))),
    "settings, empty": ([], frame(4, 0, 0)),
    "settings, acknowledged": ([], frame(4, 1, 0)),
    "table sizes": ([], frame(4, 0, 0, struct.pack(">HI", 1, 2**32 - 1))),
    "windows": ([], frame(4, 0, 0, struct.pack(">HI", 4, 2**31 - 1) + struct.pack(">HI", 4, 0))),
    "pings": ([], frame(6, 0, 0, b"12345678")),
    "pings, answered": ([], frame(6, 1, 0, b"12345678")),
    "priorities": ([], frame(2, 0, 1, struct.pack(">IB", 0, 16))),
    "unknown frames": ([], frame(0x99, 0, 0, b"x" * 1000)),
    "credit for nothing": ([frame(1, 4, 1, block())], frame(8, 0, 1, struct.pack(">I", 1))),
    "resets of what isn't": ([frame(1, 5, 1, block())], frame(3, 0, 1, struct.pack(">I", 8))),
    "empty data": ([frame(1, 4, 1, block())], frame(0, 0, 1)),
    "padding": ([frame(1, 4, 1, block())], frame(0, 8, 1, b"\xff" + b"\0" * 255)),
    "continuations": ([frame(1, 0, 1, block())], frame(9, 0, 1)),
    "continuations with fields": ([frame(1, 0, 1, block())], frame(9, 0, 1, b"\0\1a\1b" * 1000)),
    "data of one message": ([frame(1, 4, 1, block()), frame(0, 0, 1, LARGE)], None),
}


@pytest.fixture(autouse=True)
def it_is_well_after_each(numeric, connect):
    had, open_before = resident(numeric.pid), descriptors(numeric.pid)
    yield
    answer = connect(numeric).infer("numeric", [("x", "FP32", ROWS)])
    assert answer.raw_output_contents[0] == b"\4\0\0\0high\3\0\0\0low"
    assert resident(numeric.pid) - had < 64 << 20
    assert descriptors(numeric.pid) <= open_before + 4
    assert '"error"' not in numeric.log_path.read_text()


@pytest.mark.parametrize("what", FLOODS)
def test_serving_grpc_floods_end(numeric, what):
    first, again = FLOODS[what]
    again = again or frame(0, 0, 1, b"x" * 16384)
    used = processor_s(numeric.pid)
    raw(numeric, *first, *[again * (2**20 // len(again))] * 32)
    assert processor_s(numeric.pid) - used < 10


def test_serving_grpc_heads_that_unfold_are_bounded(numeric):
    """One long field in the table, then a byte for each time that it comes again."""
    field = ("x-" + "a" * 50, "y" * 3900)
    first = [frame(1, 4, 1, block(field)), frame(0, 1, 1, request())]
    bomb = block() + b"\xbe" * 16000
    _, code = raw(numeric, *first, *(frame(1, 5, n, bomb) for n in range(3, 400, 2)))
    assert code in (9, 11)  # COMPRESSION_ERROR, ENHANCE_YOUR_CALM


@pytest.mark.parametrize("size", [b"\x3f\xe1\xff\xff\xff\x0f", b"\x3f" + b"\xff" * 40])
def test_serving_grpc_tables_are_not_made_larger(numeric, size):
    """A block that asks for a table of 4 GiB, and one whose number never ends."""
    _, code = raw(numeric, frame(1, 4, 1, size + block()))
    assert code == 9


def test_serving_grpc_messages_that_never_end_are_bounded_together(numeric):
    """Each stream announces 16 MiB and sends them but for a byte."""
    message = LARGE + b"x" * (2**24 - 1)
    frames = [frame(1, 4, n, block()) for n in range(1, 400, 2)]
    for n in range(1, 20, 2):
        frames += [frame(0, 0, n, message[i : i + 16384]) for i in range(0, len(message), 16384)]
    data, code = raw(numeric, *frames)
    # Either there was no more room for it, or no more credit.
    assert code in (None, 3) or b"grpc-status\x018" in data


def test_serving_grpc_answers_that_nobody_takes_are_bounded(numeric):
    """No window at all, and as many calls as may be open at once, again and again."""
    peer = Peer(numeric, initial_window_size=0)
    try:
        while not peer.h2.remote_settings.max_concurrent_streams < 1000:
            peer.read()
        for _ in range(peer.h2.remote_settings.max_concurrent_streams):
            peer.ask(request(500), HEAD)
    finally:
        peer.socket.close()


def test_serving_grpc_large_messages_leave_nothing_behind(numeric, connect):
    """Neither those that were answered nor those that were refused, on one connection and
    on many; the fixture measures."""
    one = connect(numeric)
    for _ in range(8):
        for client in (one, connect(numeric)):
            client.infer("numeric", [("x", "FP32", ROWS)], id="x" * 10_000_000)
            with pytest.raises(grpc.RpcError):
                client.infer("numeric", [], id="x" * 10_000_000)
        client.channel.close()


@pytest.mark.parametrize(
    "first",
    [
        PREFACE[:-2] + b"\n\n",
        PREFACE[:-4] + b"XX\r\n\r\n",
        PREFACE[:16],
        PREFACE.lower(),
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" + PREFACE,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + PREFACE,
        PREFACE + PREFACE,
        PREFACE + b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n",
        PREFACE + frame(1, 5, 1, block()),  # no settings first
    ],
)
def test_serving_grpc_wrong_prefaces(numeric, first):
    told = whole_answer(numeric.port, first + frame(4, 0, 0) + frame(0, 1, 1, request()))
    assert b"grpc-status\x010" not in told
