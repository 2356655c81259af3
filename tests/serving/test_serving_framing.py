"""Where a request ends is never in doubt: what could be read in two ways is refused, and
nothing behind it is taken for a request (RFC 9112, 11.2)."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from hostile import answers, resident, rest_of, whole_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INFER = b"/v2/models/numeric/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
).encode()
# Whoever smuggles wants this answered as a request of its own.
SMUGGLED = b"GET /v2/models HTTP/1.1\r\nHost: x\r\n\r\n"


def head(*fields: bytes, line: bytes = b"POST %s HTTP/1.1" % INFER, host: bytes = b"x") -> bytes:
    return b"\r\n".join([line, b"Host: " + host, *fields]) + b"\r\n\r\n"


def chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.fixture(autouse=True)
def it_is_well_after_each(numeric, wire):
    yield
    with numeric.connect() as client:
        status, _, body = wire.http(client, head(b"Content-Length: %d" % len(BODY)) + BODY)
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, ["high"])
    log = numeric.log_path.read_text()
    assert "Traceback" not in log, log[-3000:]


TE, LENGTH = b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(BODY)
ZERO = b"Content-Length: 0"


@pytest.mark.parametrize(
    "raw",
    [
        # two lengths, or two ways to tell it
        head(TE, LENGTH) + chunked(BODY),
        head(LENGTH, TE) + chunked(BODY),
        head(ZERO, TE) + b"0\r\n\r\n",
        head(TE, b"content-length: 4") + b"0\r\n\r\n",
        head(ZERO, LENGTH) + BODY,
        head(LENGTH, LENGTH) + BODY,
        head(b"Content-Length: 0, 0"),
        # lengths that some read and some don't
        *(
            head(b"Content-Length: " + value) + BODY
            for value in (b"+5", b"-1", b"0x5", b"5 5", b"1e1", b"5;", b"", b"\x0b5", b"9" * 25)
        ),
        # codings that aren't chunked, or not only
        *(
            head(b"Transfer-Encoding: " + value) + chunked(BODY)
            for value in (
                b"chunked, chunked",
                b"xchunked",
                b"chunked, identity",
                b"identity",
                b"\x0bchunked",
                b"chunked\x00",
                b"gzip",
                b'"chunked"',
                b"",
            )
        ),
        head(TE, b"Transfer-Encoding: identity") + chunked(BODY),
        head(b"Transfer-Encoding : chunked", LENGTH) + BODY,
        head(b" Transfer-Encoding: chunked", LENGTH) + BODY,
        head(b"X: y\r\n Transfer-Encoding: chunked", LENGTH) + BODY,  # obs-fold
        head(b"Transfer-Encoding:\r\n chunked") + chunked(BODY),
        head(b"Transfer\xc4\xb1Encoding: chunked", LENGTH) + BODY,
        # line ends and bytes that aren't any's
        head(LENGTH).replace(b"\r\n", b"\n") + BODY,
        head(b"X: y\nContent-Length: 0", LENGTH) + BODY,
        head(b"X: y\rContent-Length: 0", LENGTH) + BODY,
        head(b"X: \x00", LENGTH) + BODY,
        head(b"X\x00: y", LENGTH) + BODY,
        head(b"X", LENGTH) + BODY,
        head(b": y", LENGTH) + BODY,
        head(b"Content Length: 0", LENGTH) + BODY,
        # two hosts
        head(b"Host: y", LENGTH) + BODY,
        # chunks
        *(
            head(TE) + body
            for body in (
                b"-1\r\nx\r\n0\r\n\r\n",
                b"0x1\r\nx\r\n0\r\n\r\n",
                b"g\r\nx\r\n0\r\n\r\n",
                b"\r\nx\r\n0\r\n\r\n",
                b"1 1\r\nx\r\n0\r\n\r\n",
                b"1\nx\n0\n\n",
                b"1\r\nxx\r\n0\r\n\r\n",
                b"1\r\nx0\r\n\r\n",
                b"fffffffffffffffff\r\nx\r\n0\r\n\r\n",
                b"1;x\nx\r\n0\r\n\r\n",
            )
        ),
        head(TE) + chunked(BODY)[:-2] + b"Content-Length: 99\r\n\r\n",
        head(TE) + chunked(BODY)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
        # request lines
        *(
            head(line=line)
            for line in (
                b"GET /v2 HTTP/1.2",
                b"GET /v2 HTTP/1.1 HTTP/1.1",
                b"GET /v2 /v2 HTTP/1.1",
                b"GET /v\x002 HTTP/1.1",
                b"GE\x00T /v2 HTTP/1.1",
                b"HTTP/1.1 200 OK",
                b"\x00GET /v2 HTTP/1.1",
            )
        ),
        b"GET /v2\r\n\r\n",
        head(line=b"CONNECT x:1 HTTP/1.1"),
    ],
)
def test_serving_what_can_be_read_in_two_ways_is_refused(numeric, raw):
    found = answers(whole_answer(numeric.port, raw + SMUGGLED))
    assert len(found) == 1, found
    status, body = found[0]
    assert 400 <= status < 500
    assert body["error"]


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (head(TE) + chunked(BODY), [200, 200]),
        (head(TE) + chunked(BODY, 1), [200, 200]),
        (head(b"Transfer-Encoding: Chunked") + chunked(BODY), [200, 200]),
        (head(TE) + chunked(BODY).replace(b"7\r\n", b"7;a=b\r\n", 1), [200, 200]),
        (head(TE) + chunked(BODY)[:-2] + b"X-Trailer: 1\r\n\r\n", [200, 200]),
        (head(LENGTH) + BODY + b"\r\n", [200, 200]),  # some clients end so
        (head(b"Content-Length:   %d  " % len(BODY)) + BODY, [200, 200]),
        (head(b"Connection: close", LENGTH) + BODY, [200]),
        (head(line=b"GET /v2 HTTP/1.0"), [200]),
        (head(line=b"GET /v2 HTTP/2.0"), [200]),
        (head(b"Content-Length: 5") + BODY, [400, 400]),  # it ends where its length says
        (head(TE) + b"ffffffffffffffff\r\n" + BODY, []),  # all that comes is of this chunk
        (head(b"Content-Length: %d" % (len(BODY) + 99)) + BODY, []),
    ],
)
def test_serving_what_can_be_read_in_one_way_is_read_so(numeric, raw, statuses):
    assert [status for status, _ in answers(whole_answer(numeric.port, raw + SMUGGLED))] == statuses


def test_serving_what_trailers_say_counts_for_nothing(start_replica, spec_for, wire):
    """They come when a proxy has judged the request already."""
    from hashlib import sha256

    replica = start_replica(spec_for("numeric", token_sha256=[sha256(b"word").hexdigest()]))
    raw = head(TE) + chunked(BODY)[:-2] + b"Authorization: Bearer word\r\n\r\n"
    with replica.connect() as client:
        assert wire.http(client, raw)[0] == 401
        assert wire.http(client, head(TE, b"Authorization: Bearer word") + chunked(BODY))[0] == 200


@pytest.mark.parametrize(
    "first",
    [
        head(b"Connection: close", LENGTH) + BODY,
        head(b"Content-Length: 99999999"),
        head(b"Host: y"),
        head(b"Expect: a-pony", b"Content-Length: 0"),
        b"GET /v2 HTTP/1.1\r\n\r\n",
        head(line=b"CONNECT x:1 HTTP/1.1"),
    ],
)
@pytest.mark.parametrize(
    "garbage", [b"\x00\x01", b"X: y\r\n\r\n", BODY, b"GET / HTTP/1.1\r\nX\r\n"]
)
def test_serving_nothing_is_said_after_the_last_answer(numeric, first, garbage):
    """Also of what came in the same packet, and can't be read."""
    found = answers(whole_answer(numeric.port, first + garbage))
    assert len(found) == 1


ENDLESS = {
    "a request line": [b"GET /", b"a" * 65536],
    "a header's name": [head()[:-2], b"a" * 65536],
    "a header's value": [head()[:-2] + b"X: ", b"a" * 65536],
    "headers": [head()[:-2], b"X: y\r\n" * 10_000],
    "headers of other names": [head()[:-2], b"".join(b"X%d: y\r\n" % i for i in range(8000))],
    "trailers": [head(TE) + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 10_000],
    "a trailer's name": [head(TE) + b"1\r\nx\r\n0\r\n", b"a" * 65536],
    "a trailer's value": [head(TE) + b"1\r\nx\r\n0\r\nX: ", b"a" * 65536],
    "chunks": [head(TE), b"10000\r\n" + b" " * 65536 + b"\r\n"],
    "empty lines": [b"", b"\r\n" * 30_000],
}


@pytest.mark.parametrize("what", ENDLESS)
def test_serving_what_never_ends_is_ended(numeric, what):
    """Up to 64 MiB of it; the answer comes long before, and nothing is kept."""
    first, again = ENDLESS[what]
    had = resident(numeric.pid)
    with numeric.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(first)
            for _ in range(1024):
                client.sendall(again)
            client.shutdown(socket.SHUT_WR)
        told = rest_of(client)
    if what == "empty lines":  # they say nothing and cost nothing
        assert not told
    elif told:  # else a reset came before it
        assert answers(told)[0][0] in (400, 413, 431)
    assert resident(numeric.pid) - had < 32 << 20


pieces = st.lists(
    st.sampled_from(
        [
            head(TE),
            head(LENGTH),
            head(line=b"GET /v2 HTTP/1.1"),
            chunked(BODY),
            BODY,
            b"0\r\n\r\n",
            b"\r\n",
            b"5\r\nabcde\r\n",
            b"Content-Length: 3\r\n",
            b"\x00",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    )
    | st.binary(max_size=12),
    max_size=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces, st.integers(0, 400))
def test_serving_any_bytes_are_answered_or_ended(numeric, sent, cut):
    data = b"".join(sent)
    told = whole_answer(numeric.port, data[:cut], data[cut:])
    if b"PRI *" in data:
        return  # HTTP/2's frames are judged elsewhere
    for status, body in answers(told):
        assert status == 200 or (400 <= status < 500 and body["error"])
