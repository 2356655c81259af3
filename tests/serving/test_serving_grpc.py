"""gRPC by a client that others wrote (grpcio): the protocol, and what is refused."""

from __future__ import annotations

import hashlib
import json
import socket

import grpc
import numpy as np
import pytest
from tests.serving.grpc_client import FIELDS, HEALTH, ROWS, SERVICE, asking, packed, samples

# the protocol


def test_serving_grpc_answers_raw_as_it_was_asked(numeric, connect):
    answer = connect(numeric).infer("numeric", [("x", "FP32", ROWS)])
    assert (answer.model_name, answer.model_version) == ("numeric", "3")
    label, probabilities = answer.outputs
    assert (label.name, label.datatype, list(label.shape)) == ("prediction", "BYTES", [2])
    assert answer.raw_output_contents[0] == packed(np.array([b"high", b"low"], dtype=object))
    found = np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(2, 3)
    assert list(probabilities.shape) == [2, 3]
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert json.loads(probabilities.parameters["classes"].string_param) == ["high", "low", "mid"]


def test_serving_grpc_answers_typed_what_rest_answers(numeric, connect, wire):
    answer = connect(numeric).infer(
        "numeric",
        [(name, "FP64", ROWS[:, i]) for i, name in enumerate("abcd")],
        raw=False,
        id="mine",
        outputs=[{"name": "probabilities"}, {"name": "prediction"}],
    )
    body = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist()}]}
    with numeric.connect() as client:
        _, _, text = wire.http(client, wire.post("/v2/models/numeric/infer", body))
    rest = {o["name"]: o["data"] for o in json.loads(text)["outputs"]}
    assert answer.id == "mine"
    assert [o.name for o in answer.outputs] == ["probabilities", "prediction"]
    assert list(answer.outputs[1].contents.bytes_contents) == [b"high", b"low"]
    assert list(answer.outputs[0].contents.fp32_contents) == pytest.approx(rest["probabilities"])
    assert rest["prediction"] == ["high", "low"]
    assert not answer.raw_output_contents


@pytest.mark.parametrize("raw", [True, False])
def test_serving_grpc_every_datatype_comes_back(echoes, connect, raw):
    replica = echoes(*FIELDS)
    given = [(d, d, samples(d)) for d in FIELDS]
    answer = connect(replica).infer("echo", given, raw=raw)
    for i, (datatype, _, array) in enumerate(given):
        output = answer.outputs[i]
        assert (output.datatype, tuple(output.shape)) == (datatype, array.shape)
        if raw:
            assert answer.raw_output_contents[i] == packed(array)
        else:
            got = list(getattr(output.contents, FIELDS[datatype]))
            assert got == array.ravel().tolist()


def test_serving_grpc_contents_that_hold_nothing_are_none(numeric, connect):
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "contents": {}}
    raw = [np.asarray(ROWS, np.float32).tobytes()]
    answer = connect(numeric).call(
        "ModelInfer", model_name="numeric", inputs=[tensor], raw_input_contents=raw
    )
    assert list(answer.outputs[0].shape) == [2]


def test_serving_grpc_half_floats_are_raw_only(echoes, connect):
    client = connect(echoes("FP16", "BF16"))
    given = [(d, d, samples(d)) for d in ("FP16", "BF16")]
    answer = client.infer("echo", given)
    assert list(answer.raw_output_contents) == [packed(array) for _, _, array in given]
    with pytest.raises(grpc.RpcError) as refused:
        client.call(
            "ModelInfer",
            model_name="echo",
            inputs=[{"name": "FP16", "datatype": "FP16", "shape": [1, 1]}],
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "raw_input_contents" in refused.value.details()


def test_serving_grpc_tells_what_is_served(numeric, connect):
    client = connect(numeric)
    assert client.call("ServerLive").live
    assert client.call("ServerReady").ready
    assert client.call("ModelReady", name="numeric").ready
    assert client.call("ModelReady", name="numeric", version="3").ready
    assert client.call("ServerMetadata").name == "volant"
    about = client.call("ModelMetadata", name="numeric")
    assert (about.platform, list(about.versions)) == ("onnxruntime", ["3"])
    assert [t.name for t in about.inputs] == list("abcd")
    assert [(t.name, t.datatype, list(t.shape)) for t in about.outputs] == [
        ("prediction", "BYTES", [-1]),
        ("probabilities", "FP32", [-1, 3]),
    ]
    config = client.call("ModelConfig", name="numeric").config
    assert [(i.name, i.data_type) for i in config.input] == [(n, 12) for n in "abcd"]
    assert client.call("ModelStatistics", name="numeric").model_stats[0].name == "numeric"
    index = client.call("RepositoryIndex").models
    assert [(m.name, m.version, m.state) for m in index] == [("numeric", "3", "READY")]
    assert client.call("RepositoryModelLoad", model_name="numeric").isLoaded
    # KServe's client has the model's name as the first field.
    assert client.call("RepositoryModelLoad", repository_name="numeric").isLoaded


def test_serving_grpc_health_checks(numeric, connect):
    client = connect(numeric)
    request, check = client.method("Check", HEALTH)
    assert check(request(), timeout=30).status == 1
    assert check(request(service=SERVICE), timeout=30).status == 1
    with pytest.raises(grpc.RpcError) as unknown:
        check(request(service="else"), timeout=30)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_serving_grpc_hands_the_request_id_back(numeric, connect):
    request, infer = connect(numeric).method("ModelInfer")
    metadata = (("x-request-id", "mine-1"),)
    asked = request(**asking("numeric", [("x", "FP32", ROWS)]))
    _, call = infer.with_call(asked, timeout=30, metadata=metadata)
    assert ("x-request-id", "mine-1") in [tuple(m) for m in call.trailing_metadata()]
    with pytest.raises(grpc.RpcError) as refused:
        infer(request(model_name="nix"), timeout=30, metadata=metadata)
    assert ("x-request-id", "mine-1") in [tuple(m) for m in refused.value.trailing_metadata()]


# refusals


@pytest.mark.parametrize(
    ("name", "fields", "code", "words"),
    [
        ("ModelInfer", asking("nix", [("x", "FP32", ROWS)]), "NOT_FOUND", '"nix"'),
        (
            "ModelInfer",
            {**asking("numeric", [("x", "FP32", ROWS)]), "model_version": "9"},
            "NOT_FOUND",
            "expected 3",
        ),
        ("ModelInfer", asking("numeric", []), "INVALID_ARGUMENT", "input tensors"),
        (
            "ModelInfer",
            asking("numeric", [("x", "FP32", ROWS[:, :3])]),
            "INVALID_ARGUMENT",
            "[n, 4]",
        ),
        (
            "ModelInfer",
            {**asking("numeric", [("x", "FP32", ROWS)]), "raw_input_contents": [b"abc"]},
            "INVALID_ARGUMENT",
            "expected 32 bytes",
        ),
        (
            "ModelInfer",
            {**asking("numeric", [("x", "FP32", ROWS)]), "raw_input_contents": [b"", b""]},
            "INVALID_ARGUMENT",
            "expected 1",
        ),
        (
            "ModelInfer",
            {
                "model_name": "numeric",
                "inputs": [
                    {
                        "name": "x",
                        "datatype": "FP32",
                        "shape": [1, 4],
                        "contents": {"fp64_contents": [1, 2, 3, 4]},
                    }
                ],
            },
            "INVALID_ARGUMENT",
            "some in fp64_contents",
        ),
        (
            "ModelInfer",
            {**asking("numeric", [("x", "FP32", ROWS)]), "outputs": [{"name": "predictoin"}]},
            "INVALID_ARGUMENT",
            'Did you mean "prediction"?',
        ),
        ("ModelReady", {"name": "nix"}, "NOT_FOUND", '"nix"'),
        ("RepositoryModelUnload", {"model_name": "nix"}, "NOT_FOUND", '"nix"'),
    ],
)
def test_serving_grpc_refuses_with_the_reason(numeric, connect, name, fields, code, words):
    with pytest.raises(grpc.RpcError) as refused:
        connect(numeric).call(name, **fields)
    assert refused.value.code() is grpc.StatusCode[code]
    assert words in refused.value.details()


def test_serving_grpc_refuses_other_methods_and_messages(numeric, connect):
    channel = connect(numeric).channel
    with pytest.raises(grpc.RpcError) as unknown:
        channel.unary_unary(f"/{SERVICE}/ModelInfre")(b"", timeout=30)
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "ModelInfer" in unknown.value.details()
    for name in ("ModelInfer", "ModelReady"):
        with pytest.raises(grpc.RpcError) as broken:
            channel.unary_unary(f"/{SERVICE}/{name}")(b"\xff\xff\xff", timeout=30)
        assert broken.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_serving_grpc_asks_for_a_token(start_replica, spec_for, connect):
    known = hashlib.sha256(b"secret").hexdigest()
    client = connect(start_replica(spec_for("numeric", token_sha256=[known])))
    given = [("x", "FP32", ROWS)]
    assert client.call("ServerLive").live
    for metadata in ((), (("authorization", "Bearer other"),)):
        with pytest.raises(grpc.RpcError) as refused:
            client.infer("numeric", given, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = client.infer("numeric", given, metadata=(("authorization", "Bearer secret"),))
    assert len(answer.outputs) == 2


def test_serving_grpc_a_full_queue_is_unavailable(echoes, connect):
    client = connect(echoes("FP32", max_queue_rows=1))
    request, infer = client.method("ModelInfer")
    slow = np.full((1, 1), -0.5, np.float32)
    futures = [
        infer.future(request(**asking("echo", [("FP32", "FP32", slow)])), timeout=60)
        for _ in range(8)
    ]
    codes = {f.code() for f in futures}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert any("Too busy" in (f.details() or "") for f in futures)


def test_serving_grpc_h2_without_grpc_is_sent_to_rest(numeric):
    reply = _h2(numeric.port, [(":method", "GET"), (":path", "/v2"), (":scheme", "http")])
    assert reply[0] == b"415"
    assert "HTTP/1.1" in json.loads(reply[1])["error"]


def _h2(port: int, headers) -> tuple[bytes, bytes]:
    """One request by a strict HTTP/2 library: its status and its body."""
    from h2.connection import H2Connection
    from h2.events import DataReceived, ResponseReceived, StreamEnded

    peer = H2Connection()
    status, body = b"", b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        peer.initiate_connection()
        peer.send_headers(1, [*headers, (":authority", "x")], end_stream=True)
        client.sendall(peer.data_to_send())
        while True:
            for event in peer.receive_data(client.recv(65536)):
                if isinstance(event, ResponseReceived):
                    status = dict(event.headers)[b":status"]
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    return status, body
