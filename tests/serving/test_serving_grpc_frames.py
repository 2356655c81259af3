"""HTTP/2 as clients that are strict, slow, broken or hostile speak it."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volant.serving import grpc_messages
from volant.serving.grpc_messages import ModelInferRequest, ModelInferResponse

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INFER = "/inference.GRPCInferenceService/ModelInfer"
HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", INFER),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
CALM, PROTOCOL, SIZE, FLOW, COMPRESSION = 11, 1, 6, 3, 9


@pytest.fixture(scope="module")
def numeric(start_replica, spec_for):
    return start_replica(spec_for("numeric"))


def request(rows: int = 1) -> bytes:
    """A whole gRPC message: a `ModelInferRequest` with its prefix."""
    message = ModelInferRequest(model_name="numeric")
    message.inputs.add(name="x", datatype="FP32", shape=[rows, 4])
    message.raw_input_contents.append(np.zeros((rows, 4), np.float32).tobytes())
    body = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(body)) + body


class Peer:
    """A client on h2, which checks what it is sent."""

    def __init__(self, replica, **initial) -> None:
        self.socket = replica.connect()
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        if initial:
            self.h2.update_settings({SettingCodes[k.upper()]: v for k, v in initial.items()})
        self.data: dict[int, bytes] = {}
        self.heads: dict[int, dict] = {}
        self.trailers: dict[int, dict] = {}
        self.done: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaways: list[int] = []
        self.pieces = 0
        self.gives_credit = True
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, body: bytes, head=HEAD, *, end: bool = True) -> int:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, head)
        while body:
            size = min(self.h2.local_flow_control_window(number), 16384)
            if size == 0:
                self.flush()
                self.read()
                continue
            self.h2.send_data(number, body[:size])
            body = body[size:]
        if end:
            self.h2.end_stream(number)
        self.flush()
        return number

    def read(self) -> bool:
        """Take what has come; whether the connection is still there."""
        data = self.socket.recv(65536)
        if not data:
            return False
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()
        return True

    def take(self, event) -> None:
        if isinstance(event, events.ResponseReceived):
            self.heads[event.stream_id] = dict(event.headers)
        elif isinstance(event, events.TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, events.DataReceived):
            self.pieces += 1
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            if self.gives_credit:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            self.done.add(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, events.ConnectionTerminated):
            self.goaways.append(event.error_code)

    def until(self, number: int) -> None:
        while number not in self.done:
            assert self.read(), "closed before the answer"

    def rows(self, number: int) -> int:
        assert self.trailers[number]["grpc-status"] == "0"
        answer = ModelInferResponse.FromString(self.data[number][5:])
        return answer.outputs[0].shape[0]


@pytest.fixture
def peer(numeric):
    made = []

    def make(**initial) -> Peer:
        made.append(Peer(numeric, **initial))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


def raw(replica, *frames: bytes) -> tuple[bytes, int | None]:
    """Send the preface, settings and `frames`; all that came back, and the last GOAWAY's
    error code."""
    with replica.connect() as client:
        client.sendall(PREFACE + frame(4, 0, 0))
        try:
            for one in frames:
                client.sendall(one)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it closed already
        data = b""
        while True:
            try:
                more = client.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            data += more
    code, at = None, 0
    while len(data) - at >= 9:
        size = int.from_bytes(data[at : at + 3], "big")
        if data[at + 3] == 7:
            code = int.from_bytes(data[at + 13 : at + 17], "big")
        at += 9 + size
    return data, code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(*extra, head=HEAD) -> bytes:
    return Encoder().encode([*head, *extra])


def alive(replica, wire) -> bool:
    with replica.connect() as client:
        return wire.http(client, b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200


# what a strict peer takes


def test_serving_grpc_frames_a_strict_peer_is_content(peer):
    one = peer()
    numbers = [one.ask(request(n)) for n in (1, 2, 3)]
    for rows, number in enumerate(numbers, 1):
        one.until(number)
        assert one.rows(number) == rows
        assert one.heads[number]["content-type"] == "application/grpc"
        assert one.heads[number]["grpc-accept-encoding"] == "identity,deflate,gzip"
    assert not one.resets


def test_serving_grpc_frames_byte_by_byte(numeric):
    one = Peer(numeric)
    one.h2.send_headers(1, HEAD)
    one.h2.send_data(1, request(), end_stream=True)
    one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in one.h2.data_to_send():
        one.socket.sendall(bytes([byte]))
    one.until(1)
    assert one.rows(1) == 1
    one.socket.close()


def test_serving_grpc_frames_http1_byte_by_byte(numeric):
    """`P` may be the beginning of either."""
    with numeric.connect() as client:
        for byte in b"PUT /v2 HTTP/1.1\r\nHost: x\r\n\r\n":
            client.sendall(bytes([byte]))
        assert client.recv(65536).startswith(b"HTTP/1.1 405 ")


def test_serving_grpc_frames_a_message_in_many_frames(peer):
    one = peer()
    number = one.h2.get_next_available_stream_id()
    one.h2.send_headers(number, HEAD)
    body = request(50)
    for i in range(0, len(body), 7):
        one.h2.send_data(number, body[i : i + 7], pad_length=3)
    one.h2.send_headers(number, [("x-trailer", "1")], end_stream=True)
    one.flush()
    one.until(number)
    assert one.rows(number) == 50


def test_serving_grpc_frames_answers_fit_narrow_windows(peer):
    one = peer(initial_window_size=100)
    one.gives_credit = False
    number = one.ask(request(200))
    while one.pieces == 0 or len(one.data[number]) < 100:
        assert one.read()
    assert number not in one.done
    one.h2.increment_flow_control_window(50, number)
    one.flush()
    while len(one.data[number]) < 150:
        assert one.read()
    # A larger first window counts for streams that are open.
    one.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100_000})
    one.flush()
    one.until(number)
    assert one.rows(number) == 200


def test_serving_grpc_frames_one_stuck_stream_stops_no_other(peer):
    one = peer(initial_window_size=10)
    one.gives_credit = False
    stuck, other = one.ask(request()), one.ask(request())
    one.h2.increment_flow_control_window(10_000, other)
    one.flush()
    one.until(other)
    assert one.rows(other) == 1
    assert stuck not in one.done


def test_serving_grpc_frames_half_closed_client_gets_its_answer(numeric):
    for _ in range(20):
        sent = frame(1, 4, 1, block()) + frame(0, 1, 1, request())
        data, code = raw(numeric, sent)
        assert b"grpc-status\x010" in data
        assert code is None


def test_serving_grpc_frames_malformed_requests_are_reset(peer):
    one = peer()
    heads = [
        [h for h in HEAD if h[0] != ":path"],
        [*HEAD, ("connection", "close")],
        [("te", "gzip") if h[0] == "te" else h for h in HEAD],
        [*HEAD, ("grpc-timeout", "soon")],
    ]
    one.h2.config.validate_outbound_headers = False
    one.h2.config.normalize_outbound_headers = False
    for head in heads:
        number = one.ask(request(), head, end=False)
        while number not in one.resets:
            assert one.read()
        assert one.resets[number] == PROTOCOL
    number = one.ask(request(), [*HEAD, ("grpc-timeout", "99999999H")])
    one.until(number)
    assert one.rows(number) == 1


def test_serving_grpc_frames_messages_that_are_none(peer):
    one = peer()
    bad = [b"", b"\0\0", request()[:-1], request() * 2, b"\1" + request()[1:]]
    for body in bad:
        number = one.ask(body)
        one.until(number)
        found = one.trailers.get(number) or one.heads[number]
        assert found["grpc-status"] in ("3", "12"), body
        assert found["grpc-message"]


def test_serving_grpc_frames_a_leaving_replica_says_so_twice(start_replica, spec_for):
    """First that it will leave; and when the client knows, which stream was the last."""
    replica = start_replica(spec_for("numeric"))
    with replica.connect() as client:
        frames = Frames(client)
        client.sendall(PREFACE + frame(4, 0, 0) + frame(1, 4, 1, block()))
        frames.until(4)
        replica.tell(type="drain", idle_s=10)
        assert frames.until(7)[:8] == struct.pack(">II", 2**31 - 1, 0)
        ping = frames.until(6)
        # The client begins a call before it knows, and ends the one that it began before.
        client.sendall(frame(1, 4, 3, block()) + frame(6, 1, 0, ping))
        assert frames.until(7)[:8] == struct.pack(">II", 3, 0)
        client.sendall(frame(1, 5, 5, block()))  # too late: it may be asked elsewhere
        assert frames.until(3) == struct.pack(">I", 7)
        client.sendall(frame(0, 1, 1, request()) + frame(0, 1, 3, request()))
        answered = [frames.until(0), frames.until(0)]
        assert all(ModelInferResponse.FromString(a[5:]).model_version == "3" for a in answered)
        assert frames.until(None) == b""


class Frames:
    """The frames that come over a socket."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.rest = b""

    def until(self, kind: int | None) -> bytes:
        """The payload of the next frame of `kind`; of the end, nothing."""
        while True:
            while len(self.rest) < 9 or len(self.rest) < 9 + int.from_bytes(self.rest[:3], "big"):
                data = self.client.recv(65536)
                if not data:
                    assert kind is None
                    return b""
                self.rest += data
            stop = 9 + int.from_bytes(self.rest[:3], "big")
            found, payload, self.rest = self.rest[3], self.rest[9:stop], self.rest[stop:]
            if found == kind:
                return payload


# what a hostile one tries


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(0, 0, 1, b"x")], PROTOCOL),  # DATA on a stream that never began
        ([frame(0, 0, 0, b"x")], PROTOCOL),
        ([frame(1, 4, 2, b"")], PROTOCOL),  # a stream of the server's
        ([frame(1, 4, 0, b"")], PROTOCOL),
        ([frame(9, 4, 1, b"")], PROTOCOL),  # CONTINUATION of nothing
        ([frame(1, 0, 1, block()), frame(6, 0, 0, b"12345678")], PROTOCOL),
        ([frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff")], COMPRESSION),
        ([frame(1, 4 | 8, 1, b"\xff" + block())], PROTOCOL),  # more padding than payload
        ([frame(4, 0, 0, b"12345")], SIZE),
        ([frame(4, 0, 0, struct.pack(">HI", 4, 2**31))], FLOW),
        ([frame(4, 0, 0, struct.pack(">HI", 5, 100))], PROTOCOL),
        ([frame(4, 0, 1, b"")], PROTOCOL),
        ([frame(6, 0, 0, b"1234")], SIZE),
        ([frame(8, 0, 0, struct.pack(">I", 0))], PROTOCOL),
        ([frame(8, 0, 0, struct.pack(">I", 2**31 - 1))], FLOW),
        ([frame(8, 0, 1, struct.pack(">I", 1))], PROTOCOL),
        ([frame(3, 0, 1, struct.pack(">I", 8))], PROTOCOL),
        ([frame(5, 4, 1, b"")], PROTOCOL),  # PUSH_PROMISE
        ([frame(0, 0, 1, b"")[:3] + b"\xff"], None),
        ([b"\x02\x00\x00" + frame(0, 0, 1)[3:]], SIZE),  # a frame of 128 KiB
        ([frame(6, 0, 0, b"12345678") * 20_000], CALM),
        ([frame(1, 0, 1, block())] + [frame(9, 0, 1)] * 100, CALM),
        ([frame(1, 0, 1, block())] + [frame(9, 0, 1, b"\0\1a\1b" * 2000)] * 10, CALM),
        ([frame(1, 4, 1, block()), frame(0, 0, 1) * 20_000], CALM),
        # A small block that unpacks to a large one.
        (
            [frame(1, 4, 1, block(("x", "y" * 3000))), frame(1, 4, 3, b"\xbe" * 30)],
            CALM,
        ),
    ],
)
def test_serving_grpc_frames_faults_end_the_connection(numeric, wire, frames, code):
    assert raw(numeric, *frames)[1] == code
    assert alive(numeric, wire)


def test_serving_grpc_frames_rapid_resets_are_bounded(numeric, wire):
    frames = b"".join(
        frame(1, 4, n, block()) + frame(0, 1, n, request()) + frame(3, 0, n, b"\0\0\0\x08")
        for n in range(1, 8001, 2)
    )
    assert raw(numeric, frames)[1] == CALM
    assert alive(numeric, wire)


def test_serving_grpc_frames_too_many_streams_are_refused(peer):
    one = peer()
    while not one.h2.remote_settings.max_concurrent_streams < 1000:
        one.read()
    most = one.h2.remote_settings.max_concurrent_streams
    frames = b"".join(frame(1, 4, n, block()) for n in range(1, 2 * most + 2, 2))
    one.socket.sendall(frames)
    data = b""
    while frame(3, 0, 2 * most + 1, b"\0\0\0\x07") not in data:
        data += one.socket.recv(65536)


frames_made = st.lists(
    st.builds(
        frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1]),
        st.one_of(
            st.binary(max_size=40),
            st.just(block()),
            st.just(request()),
            st.just(struct.pack(">I", 8)),
        ),
    ),
    max_size=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=st.one_of(st.binary(max_size=200), frames_made.map(b"".join)))
def test_serving_grpc_frames_whatever_comes_ends(numeric, sent):
    """It ends for a client that says it sends no more; `raw` would otherwise time out."""
    raw(numeric, sent)


def test_serving_grpc_frames_fuzzing_left_it_well(numeric, wire, peer):
    assert alive(numeric, wire)
    one = peer()
    number = one.ask(request())
    one.until(number)
    assert one.rows(number) == 1
    log = [json.loads(line) for line in numeric.log_path.read_text().splitlines()]
    assert not [entry for entry in log if "Traceback" in str(entry.get("error", ""))]


# the messages


def test_serving_grpc_messages_are_those_of_the_proto(tmp_path):
    protos = Path(grpc_messages.__file__).with_name("protos")
    made = tmp_path / "messages.pb"
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "grpc_tools.protoc",
            "-I.",
            f"--descriptor_set_out={made}",
            "inference.proto",
            "health.proto",
        ],
        cwd=protos,
        check=True,
    )
    assert made.read_bytes() == (protos / "messages.pb").read_bytes()


def test_serving_grpc_messages_leave_the_common_pool_alone(tmp_path):
    """A model may import another library's stubs of the same protocol."""
    protos = Path(grpc_messages.__file__).with_name("protos")
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"-I{protos}"]
    subprocess.run([*command, f"--python_out={tmp_path}", "inference.proto"], check=True)
    code = (
        "import volant.serving.grpc_messages, inference_pb2; print(inference_pb2.DataType.Name(1))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout == "TYPE_BOOL\n"
