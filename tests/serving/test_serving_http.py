"""A real replica over real sockets: the protocol, its limits, and leaving."""

from __future__ import annotations

import hashlib
import json
import socket
import time

import pytest
from tests.serving.echoes import echo_model

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
INFER = "/v2/models/numeric/infer"


@pytest.fixture(scope="module")
def replica(start_replica, spec_for):
    return start_replica(spec_for("numeric"))


@pytest.fixture
def client(replica):
    with replica.connect() as connected:
        yield connected


def get(path, *headers, method="GET"):
    extra = "".join(f"{h}\r\n" for h in headers)
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


def is_served(port) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def closed(client) -> bool:
    return client.recv(1) == b""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", {"name": "volant"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/numeric", {"name": "numeric", "versions": ["3"], "platform": "onnxruntime"}),
        ("/v2/models/numeric/ready", {"name": "numeric", "ready": True}),
        ("/v2/models/numeric/versions/3", {"name": "numeric"}),
        ("/v2/models/numeric/versions/3/ready?x=1", {"ready": True}),
        ("/v2/models/n%75meric/", {"name": "numeric"}),
    ],
)
def test_serving_reads(client, wire, path, expected):
    status, headers, body = wire.http(client, get(path))
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert expected.items() <= json.loads(body).items()


def test_serving_infers_one_and_many_rows_keeps_alive_and_echoes_the_id(client, wire):
    for rows in (1, 3, 700):
        request = {
            "id": f"r{rows}",
            "parameters": {"any": 1},
            "inputs": [
                {"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": [2, 0, 0, 0] * rows}
            ],
        }
        status, _, body = wire.http(
            client, wire.post("/v2/models/numeric/versions/3/infer", request)
        )
        answer = json.loads(body)
        assert (status, answer["id"], answer["model_version"]) == (200, f"r{rows}", "3")
        label, probabilities = answer["outputs"]
        assert label["data"] == ["high"] * rows
        assert probabilities["shape"] == [rows, 3]
        assert len(probabilities["data"]) == rows * 3
        assert probabilities["parameters"]["classes"] == ["high", "low", "mid"]


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (get("/nowhere"), 404, "Open Inference Protocol"),
        (get("/v2/models/numerik"), 404, 'Did you mean "numeric"?'),
        (get("/v2/models/numeric/versions/9"), 404, "expected 3"),
        (get(INFER), 405, "expected POST, got GET"),
        (get("/v2", method="DELETE"), 405, "expected GET, HEAD, got DELETE"),
        (get(INFER, method="POST"), 400, "Expected a JSON body"),
        (get(INFER, "Content-Length: 99999999", method="POST"), 413, "at most 16777216 bytes"),
        (get(INFER, "Expect: a-pony", "Content-Length: 1", method="POST"), 417, "100-continue"),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"SPEAK\r\n\r\n", 400, "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "HTTP/1.1"),
        (get("/v2", f"X: {'y' * 40000}"), 431, "at most 32768 bytes"),
        (get("/v2", *(f"X-{i}: y" for i in range(200))), 431, "in 100 headers"),
    ],
)
def test_serving_refusals(client, wire, raw, status, words):
    got, headers, body = wire.http(client, raw)
    assert got == status
    assert words in json.loads(body)["error"]
    assert got != 405 or headers["allow"]


@pytest.mark.parametrize("at", [20, 10_000, 32_000, 39_000])
def test_serving_a_long_head_that_comes_in_pieces(client, wire, at):
    raw = get("/v2", f"X: {'y' * 40000}")
    client.sendall(raw[:at])
    time.sleep(0.05)
    assert wire.http(client, raw[at:])[0] == 431


def test_serving_a_long_body_before_a_head_is_none_of_it(client, wire):
    """Neither is what comes behind it."""
    body = {**BODY, "parameters": {"note": "y" * 40_000}}
    raw = wire.post(INFER, body)
    client.sendall(raw[:-10])
    time.sleep(0.05)
    client.sendall(raw[-10:] + get("/v2")[:-8])
    assert wire.read_answer(client)[0] == 200
    assert wire.http(client, get("/v2")[-8:])[0] == 200


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream2", "multipart/form-data"])
def test_serving_wrong_content_type(client, wire, kind):
    raw = wire.post(INFER, BODY).replace(b"application/json", kind.encode())
    assert wire.http(client, raw)[0] == 415


def test_serving_a_refused_body_leaves_the_connection_usable(client, wire):
    assert wire.http(client, wire.post(INFER, b"{nonsense"))[0] == 400
    assert wire.http(client, wire.post(INFER, BODY))[0] == 200


def test_serving_pipelined_requests_are_answered_in_order(client, wire):
    def numbered(i):
        return wire.post(INFER, {**BODY, "id": str(i)}) if i % 7 else wire.post(INFER, b"[]")

    client.sendall(b"".join(numbered(i) for i in range(1, 150)))
    rest = bytearray()
    for i in range(1, 150):
        status, _, body = wire.read_answer(client, rest=rest)
        assert (status, json.loads(body).get("id")) == ((200, str(i)) if i % 7 else (400, None))


def test_serving_byte_by_byte_and_chunked(client, wire):
    raw = wire.post(INFER, BODY)
    for i in range(len(raw)):
        client.send(raw[i : i + 1])
    assert wire.read_answer(client)[0] == 200
    payload = json.dumps(BODY).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (payload[:9], payload[9:]))
    head = get(INFER, "Transfer-Encoding: chunked", method="POST")
    assert wire.http(client, head + chunks + b"0\r\n\r\n")[0] == 200


def test_serving_chunked_body_too_large_is_refused_and_read_out(client, wire):
    client.sendall(get(INFER, "Transfer-Encoding: chunked", method="POST"))
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    try:
        for _ in range(18):
            client.sendall(chunk)
    except OSError:
        pass  # it may close after it has answered
    status, headers, _ = wire.read_answer(client)
    assert (status, headers["connection"]) == (413, "close")


def test_serving_expect_continue(client, wire):
    raw = wire.post(INFER, BODY, "Expect: 100-continue")
    head, _, payload = raw.partition(b"\r\n\r\n")
    client.sendall(head + b"\r\n\r\n")
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.http(client, payload)[0] == 200


def test_serving_head_has_no_body(client, wire):
    status, headers, body = wire.http(client, get("/v2", method="HEAD"), body=False)
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    assert wire.http(client, get("/v2"))[0] == 200


def test_serving_http_1_0_and_connection_close(replica, client, wire):
    status, headers, _ = wire.http(client, b"GET /v2 HTTP/1.0\r\n\r\n")
    assert (status, headers["connection"]) == (200, "close")
    assert closed(client)
    with replica.connect() as second:
        keep = wire.http(second, b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert keep[1]["connection"] == "keep-alive"
        assert wire.http(second, get("/v2", "Connection: close"))[1]["connection"] == "close"
        assert closed(second)


def test_serving_half_closed_client_gets_its_answer(client, wire):
    client.sendall(wire.post(INFER, BODY))
    client.shutdown(socket.SHUT_WR)
    assert wire.read_answer(client)[0] == 200
    assert closed(client)


def test_serving_offer_of_http2_is_ignored(client, wire):
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM")
    assert wire.http(client, wire.post(INFER, BODY, *offer))[0] == 200
    assert wire.http(client, get("/v2", *offer))[0] == 200
    assert wire.http(client, wire.post(INFER, BODY))[0] == 200


def test_serving_clients_that_vanish_harm_nobody(replica, client, wire):
    for _ in range(20):
        with replica.connect() as ghost:
            ghost.sendall(wire.post(INFER, BODY)[:-20])
        with replica.connect() as ghost:
            ghost.sendall(wire.post(INFER, BODY) * 3)
    assert wire.http(client, wire.post(INFER, BODY))[0] == 200


def test_serving_token_is_asked_for(start_replica, spec_for, wire):
    digest = hashlib.sha256(b"open sesame").hexdigest()
    replica = start_replica(spec_for("numeric", token_sha256=[digest]))
    with replica.connect() as client:
        status, headers, body = wire.http(client, wire.post(INFER, BODY))
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert "token" in json.loads(body)["error"]
        for wrong in ("Bearer nope", "Basic open sesame", "Bearer"):
            raw = wire.post(INFER, BODY, f"Authorization: {wrong}")
            assert wire.http(client, raw)[0] == 401
        raw = wire.post(INFER, BODY, "Authorization: Bearer open sesame")
        assert wire.http(client, raw)[0] == 200
        assert wire.http(client, get("/v2/health/live"))[0] == 200
        assert wire.http(client, get("/v2/models/numeric"))[0] == 401


def test_serving_text_and_number_columns(start_replica, spec_for, wire):
    replica = start_replica(spec_for("mixed"))
    with replica.connect() as client:
        tensors = [
            {"name": "size", "shape": [2], "datatype": "FP32", "data": [0.5, 0.5]},
            {"name": "colour", "shape": [2, 1], "datatype": "BYTES", "data": ["red", "blue"]},
        ]
        _, _, body = wire.http(client, wire.post("/v2/models/mixed/infer", {"inputs": tensors}))
        red, blue = json.loads(body)["outputs"][0]["data"]
        assert red - blue == pytest.approx(5, abs=1)


def test_serving_native_model(start_replica, spec_for, wire):
    replica = start_replica(spec_for("native"))
    with replica.connect() as client:
        tensor = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [3, 0, 0, -3, 0, 0]}
        _, _, body = wire.http(client, wire.post("/v2/models/native/infer", {"inputs": [tensor]}))
        assert json.loads(body)["outputs"][0] == {
            "name": "prediction",
            "datatype": "BOOL",
            "shape": [2],
            "data": [True, False],
        }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.pkl": "0" * 64}, "was altered"),
        ({"model.pkl": None}, "isn't among the registered files"),
        ({"volant.json": "0" * 64}, "was altered"),
    ],
)
def test_serving_refuses_files_that_nobody_registered(start_replica, spec_for, change, words):
    spec = spec_for("native")
    files = {k: v for k, v in {**spec["files"], **change}.items() if v is not None}
    replica = start_replica({**spec, "files": files}, accept=False)
    message = replica.message()
    assert message["type"] == "failed"
    assert words in message["error"]["what"]
    assert replica.message() == {"type": "eof"}


def test_serving_a_load_that_raises_leaves_its_trace(start_replica, sha256_of, tmp_path):
    code = "class Model:\n    def load(self, folder):\n        return {}['weights']\n"
    code += "    def predict(self, inputs):\n        return inputs\n"
    folder = echo_model(tmp_path / "model", ["FP32"], code)
    about = {"deployment": "m", "revision": 1, "version": "1", "model_dir": str(folder)}
    replica = start_replica({**about, "files": sha256_of(folder)}, accept=False)
    assert "KeyError: 'weights'" in replica.message()["error"]["what"]
    assert replica.message() == {"type": "eof"}
    trace = json.loads(replica.log_path.read_text().splitlines()[0])["error"]
    assert "return {}['weights']" in trace


def test_serving_drain_answers_what_comes_and_then_leaves(start_replica, spec_for, wire):
    replica = start_replica(spec_for("numeric"))
    clients = [replica.connect() for _ in range(6)]
    for client in clients:
        assert wire.http(client, wire.post(INFER, BODY))[0] == 200
    replica.tell(type="drain", idle_s=5)
    partly = wire.post(INFER, BODY)
    clients[0].sendall(partly[:30])
    # Another has replaced it, so the deployment is as ready as before.
    ready = b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n"
    status, _, body = wire.http(clients.pop(1), ready)
    assert (status, body) == (200, b'{"ready":true}')
    for client in clients[1:4]:
        status, headers, _ = wire.http(client, wire.post(INFER, BODY))
        assert (status, headers.get("connection")) == (200, "close")
        assert closed(client)
    status, headers, _ = wire.http(clients[0], partly[30:])
    assert (status, headers.get("connection")) == (200, "close")
    # The listening socket is still open here; what connects now waits for another replica.
    late = replica.connect()
    replica.tell(type="drain", idle_s=0.1)
    assert closed(clients[4])
    assert replica.message()["type"] == "stats"
    assert replica.message() == {"type": "eof"}
    late.close()
    for client in clients:
        client.close()


def test_serving_leaves_when_the_controller_is_gone(start_replica, spec_for, wait_until):
    replica = start_replica(spec_for("numeric"))
    replica.control.close()
    replica.listening.close()
    wait_until(lambda: not is_served(replica.port))


def test_serving_counts_and_logs_what_went_wrong(start_replica, spec_for, wire):
    replica = start_replica(spec_for("numeric"))
    with replica.connect() as client:
        wire.http(client, wire.post(INFER, BODY))
        wire.http(client, wire.post(INFER, b"[]", "X-Request-Id: abc"))
        stats = replica.message()
        assert (stats["type"], stats["requests"], stats["refused"]) == ("stats", 2, 1)
        assert stats["memory_bytes"] > 1_000_000
    lines = [json.loads(line) for line in replica.log_path.read_text().splitlines()]
    assert [(e["status"], e["request_id"], e["path"]) for e in lines] == [(400, "abc", INFER)]
