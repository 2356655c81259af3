"""Whatever comes as HTTP, a real replica answers it in its own words: no 5xx, no hang, no
growth, and it predicts as before."""

from __future__ import annotations

import copy
import gzip
import json
import struct
import zlib

import numpy as np
import pytest
from hostile import answers, resident, whole_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving.echoes import ECHO

V2, V1 = "/v2/models/numeric/infer", "/v1/models/numeric:predict"
ROW = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
OLD = {"instances": [[2, 0, 0, 0], {"a": 1, "b": None}]}
MOST_GROWTH = 64 << 20  # bytes by which one test may leave the replica larger
# Deep, wide, long: what a parser may fall over.
LARGE = [
    b"[" * 2_000_000,
    b'{"inputs":' * 200_000,
    b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":' + b"[" * 100_000,
    b'{"inputs":[' + b'{"name":"x"},' * 200_000 + b"{}]}",
    json.dumps({"inputs": [{**ROW["inputs"][0], "shape": [1] * 100_000}]}).encode(),
    json.dumps({"inputs": [{**ROW["inputs"][0], "shape": [2**62, 4]}]}).encode(),
    json.dumps({"inputs": [{**ROW["inputs"][0], "shape": [2**32, 2**32, 4]}]}).encode(),
    json.dumps({**ROW, "outputs": [{"name": f"o{i}"} for i in range(100_000)]}).encode(),
    json.dumps({**ROW, "id": "x" * 10_000_000}).encode(),
    json.dumps({"instances": [{}] * 100_000}).encode(),
    b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[' + b"1" * 9_000_000,
    b'{"' + b"\\u0000" * 1_000_000 + b'":1}',
    b"\xef\xbb\xbf" + json.dumps(ROW).encode(),
    json.dumps(ROW).encode("utf-16"),
    b'{"inputs":[{"name":"\xff\xfe","shape":[1],"datatype":"FP32","data":[1]}]}',
    b"NaN",
]

calm = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(width=64)
    | st.text(max_size=6)
    | st.sampled_from([2**63, -(2**63) - 1, 1e308, 1e39, "FP32", "BYTES", "a", [4], [-1, 4]]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "b64", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def right(numeric):
    """A request with its answer; and the largest bodies were there once, so that what the
    allocators keep of them is no growth later."""
    asked = post(V2, json.dumps(ROW).encode())
    for body in [*LARGE, b" " * (15 << 20)]:
        ask(numeric, post(V2, body))
        ask(numeric, post(V1, body))
    return asked, ask(numeric, asked)


@pytest.fixture(autouse=True)
def it_is_well_after_each(numeric, right):
    had = resident(numeric.pid)
    yield
    asked, answer = right
    assert ask(numeric, asked) == answer
    grown = resident(numeric.pid) - had
    assert grown < MOST_GROWTH, f"grew by {grown >> 20} MiB"
    log = numeric.log_path.read_text()
    assert all(line.startswith("{") for line in log.splitlines()), log[-3000:]
    assert '"error"' not in log, log[-3000:]


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    head = b"".join(b"%s\r\n" % header for header in headers)
    return (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (path.encode(), head, len(body), body)
    )


def ask(replica, raw: bytes):
    (only,) = answers(whole_answer(replica.port, raw))
    return only


def is_judged(found) -> int:
    """An answer is right or a refusal with words; returns its status."""
    status, body = found
    assert status == 200 or 400 <= status < 500, found
    if status != 200:
        assert body["error"]
        assert set(body) == {"error"}
    return status


# bodies


def keys(value) -> list:
    """Where there is something in a JSON value."""
    if isinstance(value, dict):
        return sorted(value)
    return list(range(len(value))) if isinstance(value, list) else []


@st.composite
def changed(draw, body):
    """`body` with some of its values replaced, left out or said twice as often."""
    made = copy.deepcopy(draw(body))
    for _ in range(draw(st.integers(1, 3))):
        at, depth = made, draw(st.integers(0, 4))
        while depth and (inner := [k for k in keys(at) if keys(at[k])]):
            at, depth = at[draw(st.sampled_from(inner))], depth - 1
        if not keys(at):
            continue
        key = draw(st.sampled_from(keys(at)))
        match draw(st.integers(0, 3)):
            case 0:
                del at[key]
            case 1 if isinstance(at, list):
                at.insert(key, at[key])
            case _:
                at[key] = copy.deepcopy(draw(json_values))
    return made


def spoilt(raw: st.SearchStrategy[bytes]):
    """Bytes with a piece cut out, doubled or overwritten."""

    @st.composite
    def spoil(draw):
        data = draw(raw)
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 40)))
        return (
            data[:start] + draw(st.binary(max_size=6) | st.just(data[start:stop] * 2)) + data[stop:]
        )

    return spoil()


written = (
    (changed(st.sampled_from([ROW, {**ROW, "outputs": [{"name": "prediction"}]}])) | json_values)
    .map(json.dumps)
    .map(str.encode)
)
written_old = (
    (changed(st.sampled_from([OLD, {"inputs": {c: [1] for c in "abcd"}}])) | json_values)
    .map(json.dumps)
    .map(str.encode)
)


@calm
@given(written | spoilt(written) | st.binary(max_size=80))
def test_serving_v2_bodies(numeric, body):
    is_judged(ask(numeric, post(V2, body)))


@calm
@given(written_old | spoilt(written_old))
def test_serving_v1_bodies(numeric, body):
    is_judged(ask(numeric, post(V1, body)))


TYPED = {
    "inputs": [
        {
            "name": "BYTES",
            "shape": [1, 2],
            "datatype": "BYTES",
            "parameters": {"content_type": "base64"},
            "data": ["YWI=", "YQ=="],
        },
        {"name": "INT8", "shape": [1, 2], "datatype": "INT8", "data": [[1, -2]]},
        {"name": "BOOL", "shape": [1, 1], "datatype": "BOOL", "data": [True]},
        {"name": "FP16", "shape": [1, 1], "datatype": "FP16", "data": [0.5]},
    ]
}
OLD_TYPED = {
    "instances": [{"BYTES": [{"b64": "YQ=="}, "a"], "INT8": [1], "BOOL": [True], "FP16": [None]}]
}


@calm
@given(
    changed(st.just(TYPED)).map(json.dumps) | changed(st.just(TYPED)).map(repr),
    changed(st.just(OLD_TYPED)).map(json.dumps),
)
def test_serving_tensors_of_every_kind(echoes, body, old):
    replica = echoes("BYTES", "INT8", "BOOL", "FP16", code=ECHO)
    is_judged(ask(replica, post("/v2/models/echo/infer", body.encode())))
    is_judged(ask(replica, post("/v1/models/echo:predict", old.encode())))


@pytest.mark.parametrize("text", ["é", "%%", "YQ", "YQ==\n", "\ud800", "", "/////w=="])
def test_serving_what_claims_to_be_base64(echoes, text):
    replica = echoes("BYTES", code=ECHO)
    tensor = {**TYPED["inputs"][0], "shape": [1, 1], "data": [text]}
    good = {"", "/////w=="}
    found = ask(replica, post("/v2/models/echo/infer", json.dumps({"inputs": [tensor]}).encode()))
    assert is_judged(found) == (200 if text in good else 400)
    old = json.dumps({"instances": [[{"b64": text}]]}).encode()
    assert is_judged(ask(replica, post("/v1/models/echo:predict", old))) == found[0]


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_serving_deep_wide_and_odd_bodies(numeric, number):
    for path in (V2, V1):
        status, answer = ask(numeric, post(path, LARGE[number]))
        if status != 200:  # a long id is echoed
            assert status == 400
            assert len(answer["error"]) < 2000


# binary frames


@st.composite
def frames(draw):
    """JSON and tensors behind it, where sizes, shapes and the header may lie."""
    inputs, tail = [], b""
    for name in draw(st.lists(st.sampled_from("abcdx"), min_size=1, max_size=5)):
        datatype = draw(st.sampled_from(["FP32", "FP64", "INT8", "BOOL", "BYTES", "BF16"]))
        raw = draw(
            st.binary(max_size=24)
            | st.just(np.zeros(4, np.float32).tobytes())
            | st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n) + b"ab")
        )
        size = draw(st.just(len(raw)) | st.integers(-1, 40) | st.just(2**63))
        inputs.append(
            {
                "name": name,
                "shape": draw(st.sampled_from([[1], [1, 4], [1, 1], [4], [0], [], [2**40, 4]])),
                "datatype": datatype,
                "parameters": {"binary_data_size": size},
            }
        )
        tail += raw
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    length = draw(
        st.just(str(len(head)))
        | st.integers(-5, 300).map(str)
        | st.sampled_from(["", "1e2", "0x10", "9" * 400, "1,1", " 12", "+3", "\xb2"])
    )
    return head + tail, b"Inference-Header-Content-Length: " + length.encode("latin-1")


@calm
@given(frames())
def test_serving_binary_frames(numeric, frame):
    body, header = frame
    raw = post(V2, body, header, b"X-Request-Id: f")
    data = whole_answer(numeric.port, raw)
    status = int(data.split()[1])
    if status != 200:
        is_judged(*answers(data))


# coded bodies


def coded(body: bytes, how: str) -> bytes:
    if how == "raw":
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(body) + stream.flush()
    return gzip.compress(body, 1) if how == "gzip" else zlib.compress(body, 1)


packed = st.builds(coded, written, st.sampled_from(["gzip", "zlib", "raw"]))


@calm
@given(
    packed | spoilt(packed) | packed.map(lambda raw: raw + raw),
    st.sampled_from([b"gzip", b"deflate", b"GZIP", b"x-gzip", b"gzip, gzip", b"br", b"", b"\xff"]),
)
def test_serving_coded_bodies(numeric, body, coding):
    is_judged(ask(numeric, post(V2, body, b"Content-Encoding: " + coding)))


@pytest.mark.parametrize("size", [17 << 20, 256 << 20])
def test_serving_bodies_that_unfold_to_much(numeric, size):
    stream = zlib.compressobj(9, wbits=31)
    bomb = b"".join(stream.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + stream.flush()
    for _ in range(3):
        status, _ = ask(numeric, post(V2, bomb, b"Content-Encoding: gzip"))
        assert status == 413


# headers


_NAMES = [
    *("Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "Host", "Expect"),
    *("Connection", "Upgrade", "Accept", "Authorization", "X-Request-Id", "Accept-Encoding", "TE"),
    *("Inference-Header-Content-Length", "Trailer", "Range", "Cookie", "HTTP2-Settings"),
    *("X-Volant-Shadow", "X-Forwarded-For", "Keep-Alive"),
]
_METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"BREW", b"get", b""]
_PATHS = [V2, "/v2", "*", "http://x/v2", "//", "/%00", "/%ff%fe", "", "/v2?" + "a=b&" * 99]
_VALUES = [
    *("", "0", "-1", "+5", "5, 5", "0x5", "1e3", "9" * 30, "chunked", "identity", "gzip", "close"),
    *("Bearer x", "h2c", "Upgrade", "100-continue", "\xff", "\t", "a\tb", "x" * 9000, "*/*", "1_0"),
]
lines = st.builds(
    lambda name, colon, value: name + colon + value,
    (st.sampled_from(_NAMES) | st.text(st.characters(max_codepoint=255), max_size=12)).map(
        lambda text: text.encode("latin-1")
    ),
    st.sampled_from([b": ", b":", b" : ", b"", b":\t"]),
    (st.sampled_from(_VALUES) | st.text(st.characters(max_codepoint=255), max_size=12)).map(
        lambda text: text.encode("latin-1")
    ),
)


@calm
@given(
    st.lists(lines, max_size=8),
    st.sampled_from(_METHODS),
    st.sampled_from(_PATHS)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b""]),
)
def test_serving_heads(numeric, fields, method, path, version):
    head = b"%s %s %s\r\nHost: x\r\n" % (method, path.encode(), version)
    fields = b"".join(b"%s\r\n" % field for field in fields)
    data = whole_answer(numeric.port, head + fields + b'\r\n{"inputs":[]}')
    if method == b"HEAD":
        assert not data or data.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), data
        return
    for found in answers(data):
        is_judged(found)


# memory


def test_serving_large_bodies_leave_nothing_behind(numeric, wire):
    """Not when they were answered, refused, or never came to their end."""
    echoed = post(V2, json.dumps({**ROW, "id": "x" * 10_000_000}).encode())
    refused = post(V2, b" " * 12_000_000)
    kept = echoed.replace(b"Connection: close\r\n", b"")
    had = resident(numeric.pid)
    for _ in range(8):
        assert ask(numeric, echoed)[0] == 200
        assert ask(numeric, refused)[0] == 400
        whole_answer(numeric.port, refused[:-1])
        with numeric.connect() as client:
            client.sendall(refused[:-1])
    with numeric.connect() as client:
        for _ in range(12):
            assert wire.http(client, kept)[0] == 200
    # It was once two bodies a round that stayed until the collector came.
    assert resident(numeric.pid) - had < MOST_GROWTH
