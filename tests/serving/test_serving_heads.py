"""Heads that are known give what parsing them again would."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from volant.serving.heads import Heads
from volant.serving.http import Connection
from volant.serving.http_server import HttpServer
from volant.serving.limits import HttpLimits

HEAD = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
HEADERS = {b"host": b"x", b"content-length": b"3"}


def test_one_whole_request_is_kept_and_found():
    heads = Heads()
    heads.keep(HEAD + b"abc", b"POST", b"/infer", HEADERS)
    head, body = heads.find(HEAD + b"xyz")
    assert (head.method, head.url, head.headers, body) == (b"POST", b"/infer", HEADERS, b"xyz")


def test_what_is_not_exactly_one_request_is_not_found():
    heads = Heads()
    heads.keep(HEAD + b"abc", b"POST", b"/infer", HEADERS)
    for data in (HEAD, HEAD + b"ab", HEAD + b"abcd", HEAD + b"abc" + HEAD, b"", b"\r\n\r\n"):
        assert heads.find(data) is None


def test_what_asks_for_more_than_its_bytes_is_not_kept():
    heads = Heads()
    for name in (b"Expect", b"Transfer-Encoding", b"Upgrade"):
        data = HEAD[:-2] + name + b": x\r\n\r\nabc"
        heads.keep(data, b"POST", b"/infer", {**HEADERS, name.lower(): b"x"})
        assert heads.find(data) is None
    heads.keep(HEAD + b"abc" + HEAD, b"POST", b"/infer", HEADERS)
    assert heads.find(HEAD + b"abc") is None


def test_numbered_heads_dont_fill_the_memory():
    heads = Heads()
    for number in range(5000):
        data = b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\n\r\n" % number
        heads.keep(data, b"GET", b"/", {b"host": b"x"})
    assert heads.find(data) is None
    heads.sweep()
    heads.keep(data, b"GET", b"/", {b"host": b"x"})
    assert heads.find(data) is not None


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def get_extra_info(self, name):
        return ("127.0.0.1", 1)

    def write(self, data):
        self.written += data

    def can_write_eof(self):
        return False

    def close(self):
        self.closed = True

    abort = pause_reading = resume_reading = close


LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"X-Request-Id: 7",
            b"Expect: 100-continue",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Accept: a",
            b"Accept: b",
        ]
    ),
    max_size=3,
)
REQUEST = st.builds(
    lambda method, path, version, lines, body: b"".join(
        (
            b"%s %s HTTP/1.%d\r\nHost: x\r\n" % (method, path, version),
            *(line + b"\r\n" for line in lines),
            b"Content-Length: %d\r\n" % len(body) if method == b"POST" else b"",
            b"\r\n",
            body if method == b"POST" else b"",
        )
    ),
    st.sampled_from([b"POST", b"GET", b"HEAD"]),
    st.sampled_from([b"/a", b"/b?c=d"]),
    st.sampled_from([0, 1, 1, 1]),
    LINES,
    st.sampled_from([b"", b"abc", b"\r\n\r\n", b"x" * 40]),
)
ODD = st.sampled_from([b"\r\n", b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(REQUEST, REQUEST, REQUEST, ODD), max_size=8), st.data())
def test_a_conversation_is_the_same_with_and_without(requests, data):
    pieces, joined = [], b""
    for request in requests:  # several may come in one piece, or one in several
        joined += request
        cut = data.draw(st.one_of(st.none(), st.integers(0, len(joined))))
        if cut is not None:
            pieces += [joined[:cut]] if cut else []
            joined = joined[cut:]
    pieces.append(joined)

    async def talk(known):
        server = HttpServer(asyncio.get_running_loop(), HttpLimits(), lambda told: None)
        if not known:
            server.heads.find = lambda data: None
        asked = []

        def handle(exchange):
            names = ("method", "path", "headers", "body", "keep_alive", "old_client")
            asked.append([getattr(exchange, name) for name in names])
            exchange.answer(200, b"{}")

        server.handle = handle
        wires = []
        for _ in range(2):  # the second connection knows what the first one said
            connection, wire = Connection(server), Wire()
            connection.connection_made(wire)
            for piece in filter(None, pieces):
                connection.data_received(piece)
            server.date = b""
            wires.append((wire.written, wire.closed))
            connection.connection_lost(None)
        server.close()
        return asked, [(text.count(b"HTTP/1.1 "), closed) for text, closed in wires]

    assert asyncio.run(talk(True)) == asyncio.run(talk(False))
