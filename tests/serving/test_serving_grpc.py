"""gRPC by a client that others wrote (grpcio) against replicas that are real processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from volant.domain.loop import ReplicaSpec
from volant.serving.grpc_messages import POOL
from volant.serving.grpc_messages import message as message_class

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
ECHO = """
import time

class Model:
    def predict(self, inputs):
        for value in inputs.values():
            if value.dtype == "float32" and value.size and value.flat[0] < 0:
                time.sleep(-float(value.flat[0]))
        return {f"{name}_out": value for name, value in inputs.items()}
"""


def echo_model(folder: Path, datatypes: list[str]) -> Path:
    """Answers each input as it came; a float below zero makes it sleep as long."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "model.py").write_text(ECHO)
    body = {
        "format": 1,
        "task": "custom",
        "signature": {
            "kind": "tensors",
            "inputs": [{"name": d, "datatype": d, "shape": [-1, -1]} for d in datatypes],
            "outputs": [{"name": f"{d}_out", "datatype": d, "shape": [-1, -1]} for d in datatypes],
        },
        "runtime": {"kind": "code", "file": "code"},
    }
    (folder / "volant.json").write_text(json.dumps(body))
    return folder


@pytest.fixture(scope="module")
def echoes(tmp_path_factory, start_replica):
    """`echoes("FP32", …)` → a replica that answers tensors of these as they came."""
    found: dict = {}

    def get(*datatypes: str, **more):
        key = (datatypes, tuple(more))
        if key not in found:
            folder = echo_model(tmp_path_factory.mktemp("echo") / "model", list(datatypes))
            files = {
                f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
                for f in folder.rglob("*")
                if f.is_file()
            }
            spec = {
                "deployment": "echo",
                "revision": 1,
                "version": "1",
                "model_dir": str(folder),
                "files": files,
                "token_sha256": None,
                **more,
            }
            found[key] = start_replica(spec)
        return found[key]

    return get


@pytest.fixture(scope="module")
def numeric(start_replica, spec_for):
    return start_replica(spec_for("numeric"))


class Client:
    """A channel of its own, and the methods by name."""

    def __init__(self, port: int, **options) -> None:
        pairs = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        pairs += [(f"grpc.{name}", value) for name, value in options.items()]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=pairs)

    def method(self, name: str, service: str = SERVICE):
        described = POOL.FindServiceByName(service).FindMethodByName(name)
        request = message_class(described.input_type.full_name)
        answer = message_class(described.output_type.full_name)
        make = self.channel.stream_stream if "Stream" in name else self.channel.unary_unary
        return request, make(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )

    def call(self, name: str, /, *, timeout: float = 30, **fields):
        request, method = self.method(name)
        extra = {k: fields.pop(k) for k in ("metadata", "compression") if k in fields}
        return method(request(**fields), timeout=timeout, **extra)

    def infer(self, model: str, inputs, /, *, raw: bool = True, **more):
        """`inputs`: name, datatype, array."""
        return self.call("ModelInfer", **{**asking(model, inputs, raw=raw), **more})


def asking(model: str, inputs, *, raw: bool = True) -> dict:
    tensors, contents = [], []
    for name, datatype, array in inputs:
        tensor = {"name": name, "datatype": datatype, "shape": array.shape}
        if raw:
            contents.append(packed(array))
        else:
            tensor["contents"] = {FIELDS[datatype]: array.ravel().tolist()}
        tensors.append(tensor)
    return {"model_name": model, "inputs": tensors, "raw_input_contents": contents}


def packed(array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(v).to_bytes(4, "little") + v for v in array.ravel().tolist())


@pytest.fixture
def connect():
    made = []

    def to(replica, **options) -> Client:
        port = replica if isinstance(replica, int) else replica.port
        made.append(Client(port, **options))
        return made[-1]

    yield to
    for client in made:
        client.channel.close()


ROWS = np.array([[2, 0, 0, 0], [-2, 0, 0, 0]], dtype=np.float32)


def samples(datatype: str):
    if datatype == "BYTES":
        return np.array([[b"", "zwölf".encode()], [b"\xff\x00", b"x" * 300]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if datatype == "BF16":  # 1.0, -2.0, 3.140625, a NaN
        return np.array([[0x3F80, 0xC000], [0x4049, 0x7FC1]], dtype="<u2")
    kind = {"F": "f", "I": "i", "U": "u"}[datatype[0]]
    bits = int(datatype.lstrip("FPUINT"))
    dtype = np.dtype(f"<{kind}{bits // 8}")
    ends = np.finfo(dtype) if kind == "f" else np.iinfo(dtype)
    return np.array([[ends.max, 0], [1, ends.min if kind != "f" else 0.5]], dtype=dtype)


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


# time, size, number


def test_serving_grpc_a_deadline_ends_the_call(echoes, connect):
    client = connect(echoes("FP32"))
    with pytest.raises(grpc.RpcError) as late:
        client.infer("echo", [("FP32", "FP32", np.full((1, 1), -3, np.float32))], timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(client.infer("echo", [("FP32", "FP32", ROWS)]).outputs) == 1


def test_serving_grpc_a_cancelled_call_is_not_predicted(echoes, connect, wait_until):
    replica = echoes("FP32", deployment="cancels")
    client = connect(replica)
    request, infer = client.method("ModelInfer")
    slow = request(**asking("cancels", [("FP32", "FP32", np.full((1, 1), -1, np.float32))]))
    first = infer.future(slow, timeout=60)
    rest = [infer.future(slow, timeout=60) for _ in range(20)]
    for one in rest:
        one.cancel()
    assert first.result().model_name == "cancels"
    # Twenty seconds of work are gone: only what ran when it was cancelled was done.
    ready = client.call("ModelStatistics", name="cancels").model_stats[0]
    assert ready.inference_count <= 3


@pytest.mark.parametrize("raw", [True, False])
def test_serving_grpc_eight_mebibytes_both_ways(echoes, connect, raw):
    given = np.random.default_rng(0).normal(size=(1024, 2048)).astype(np.float32)
    answer = connect(echoes("FP32")).infer("echo", [("FP32", "FP32", given)], raw=raw)
    if raw:
        assert answer.raw_output_contents[0] == given.tobytes()
    else:
        assert np.array_equal(np.float32(answer.outputs[0].contents.fp32_contents), given.ravel())


def test_serving_grpc_a_message_too_large_is_refused(echoes, connect):
    client = connect(echoes("FP32"))
    with pytest.raises(grpc.RpcError) as large:
        client.infer("echo", [("FP32", "FP32", np.zeros((4097, 1024), np.float32))])
    assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "16777216" in large.value.details()
    # Packed it is small; what it unpacks to counts.
    with pytest.raises(grpc.RpcError) as packed_small:
        client.infer(
            "echo",
            [("FP32", "FP32", np.zeros((4097, 1024), np.float32))],
            compression=grpc.Compression.Gzip,
        )
    assert packed_small.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_serving_grpc_unpacks_and_packs(echoes, connect, compression):
    given = np.zeros((64, 64), np.float32)
    answer = connect(echoes("FP32")).infer(
        "echo", [("FP32", "FP32", given)], compression=compression
    )
    assert answer.raw_output_contents[0] == given.tobytes()


def test_serving_grpc_a_hundred_streams_at_once(numeric, connect):
    client = connect(numeric)
    request, infer = client.method("ModelInfer")
    futures = []
    for i in range(100):
        row = np.array([[i - 50, 0, 0, 0]], np.float32)
        futures.append(infer.future(request(**asking("numeric", [("x", "FP32", row)]), id=str(i))))
    for i, future in enumerate(futures):
        answer = future.result(timeout=60)
        assert answer.id == str(i)
        if abs(i - 50) > 2:
            label = b"high" if i > 50 else b"low"
            assert answer.raw_output_contents[0][4:] == label


def test_serving_grpc_a_stream_of_requests_goes_on_after_a_fault(numeric, connect):
    request, stream = connect(numeric).method("ModelStreamInfer")
    given = [("x", "FP32", ROWS)]
    asked = [request(**asking("numeric" if i != 2 else "nix", given), id=str(i)) for i in range(5)]
    answers = list(stream(iter(asked), timeout=60))
    assert [a.infer_response.id for a in answers] == ["0", "1", "2", "3", "4"]
    assert [bool(a.error_message) for a in answers] == [False, False, True, False, False]
    assert '"nix"' in answers[2].error_message


# coming and going


def test_serving_grpc_an_idle_stream_ends_when_its_replica_leaves(start_replica, spec_for, connect):
    replica = start_replica(spec_for("numeric"))
    request, stream = connect(replica).method("ModelStreamInfer")
    asked = request(**asking("numeric", [("x", "FP32", ROWS)]))
    leaving = threading.Event()

    def requests():
        yield asked
        leaving.wait(60)

    answers = stream(requests(), timeout=60)
    assert not next(answers).error_message
    replica.tell(type="drain", idle_s=30)
    with pytest.raises(grpc.RpcError) as ended:
        next(answers)
    leaving.set()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "leaves" in ended.value.details()
    while replica.message()["type"] != "eof":
        pass


def test_serving_grpc_a_new_version_fails_no_call(platform, models, connect, wait_until):
    platform.register("m", models("numeric"), "run-1")
    platform.register("m", models("shifted"), "run-2")
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec(min=1))
    wait_until(lambda: platform.status("m")["status"] == "serving")
    port, stop = platform.port("m"), threading.Event()
    answered, failures = {"1": 0, "2": 0}, []

    def ask() -> None:
        client = connect(port)
        while not stop.is_set():
            try:
                answer = client.infer("m", [("x", "FP32", ROWS)])
                answered[answer.model_version] += 1
            except grpc.RpcError as error:
                failures.append(error)

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask) for _ in range(6)]
        wait_until(lambda: answered["1"] > 200)
        platform.desk.deploy("m", "m", 2, key="run-2:deploy", replicas=ReplicaSpec(min=1))
        wait_until(lambda: answered["2"] > 200)
        # The old replica ends although its clients would have stayed.
        wait_until(lambda: len(platform.status("m")["replicas"]) == 1)
        stop.set()
        for future in futures:
            future.result(timeout=60)
    assert not failures


def test_serving_grpc_unloads_to_zero_and_comes_back(platform, models, connect, wait_until):
    platform.register("m", models("numeric"), "run-1")
    spec = ReplicaSpec(0, 1, idle_s=600)
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=spec)
    wait_until(lambda: platform.status("m")["status"] == "serving")
    client = connect(platform.port("m"))
    given = [("x", "FP32", ROWS)]
    assert client.infer("m", given).model_version == "1"
    assert client.call("RepositoryModelUnload", model_name="m").isUnloaded
    wait_until(lambda: not platform.status("m")["replicas"])
    # The same channel: it was told that the replica leaves, and connects again.
    assert client.infer("m", given).model_version == "1"


def test_serving_grpc_a_killed_replica_fails_fast(start_replica, spec_for, connect):
    replica = start_replica(spec_for("numeric"))
    client = connect(replica)
    client.infer("numeric", [("x", "FP32", ROWS)])
    os.kill(replica.pid, signal.SIGKILL)
    replica.listening.close()
    with pytest.raises(grpc.RpcError) as gone:
        client.infer("numeric", [("x", "FP32", ROWS)], timeout=30)
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
