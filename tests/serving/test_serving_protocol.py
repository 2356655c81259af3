"""The protocol's addresses over real sockets: V2, its extensions, V1, OpenAPI, HTTP's faults."""

from __future__ import annotations

import gzip
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
INFER = "/v2/models/numeric/infer"
# Those that ONNX Runtime's Python holds.
KINDS = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
ARRAYS = {
    "BOOL": b"\x01\x00",
    "INT8": b"\x7f\x80",
    "UINT64": b"\xff" * 8 + b"\x00" * 8,
    "FP16": np.array([0.5, -2], dtype="<f2").tobytes(),
    "FP64": np.array([0.1, 1e300], dtype="<f8").tobytes(),
    "BYTES": b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00",
}


@pytest.fixture(scope="module")
def replica(start_replica, spec_for):
    return start_replica(spec_for("numeric"))


@pytest.fixture
def client(replica):
    with replica.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def echo(start_replica, spec_for, sha256_of, tmp_path_factory):
    """A model that answers its inputs, one of each kind."""
    folder = tmp_path_factory.mktemp("echo")
    inputs = [helper.make_tensor_value_info(f"in_{k}", v, ["n"]) for k, v in KINDS.items()]
    outputs = [helper.make_tensor_value_info(f"out_{k}", v, ["n"]) for k, v in KINDS.items()]
    nodes = [helper.make_node("Identity", [f"in_{k}"], [f"out_{k}"]) for k in KINDS]
    model = helper.make_model(
        helper.make_graph(nodes, "echo", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    facts = {
        "format": 1,
        "task": "other",
        "signature": {
            "kind": "tensors",
            "inputs": [{"name": f"in_{k}", "datatype": k, "shape": [-1]} for k in KINDS],
            "outputs": [{"name": f"out_{k}", "datatype": k, "shape": [-1]} for k in KINDS],
        },
        "runtime": {"kind": "onnx", "file": "model.onnx"},
    }
    (folder / "volant.json").write_text(json.dumps(facts))
    files = sha256_of(folder)
    spec = {**spec_for("numeric"), "deployment": "echo", "model_dir": str(folder), "files": files}
    return start_replica(spec)


def get(path, *headers, method="GET"):
    extra = "".join(f"{h}\r\n" for h in headers)
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"status": "alive"}),
        ("/v2/models", {"models": ["numeric"]}),
        ("/v1/models", {"models": ["numeric"]}),
        ("/v1/models/numeric", {"name": "numeric", "ready": True}),
        ("/v1/models/numeric/versions/3", {"ready": True}),
        ("/v2/models/numeric/config", {"name": "numeric", "max_batch_size": 0}),
        ("/v2/models/numeric/versions/3/config", {"platform": "onnxruntime"}),
        ("http://elsewhere/v2/health/live", {"live": True}),
        ("/v2/health/ready?verbose=%zz", {"ready": True}),
    ],
)
def test_serving_answers_at(client, wire, path, expected):
    status, _, body = wire.http(client, get(path))
    assert status == 200
    assert expected.items() <= json.loads(body).items()


def test_serving_statistics_count(client, wire):
    def stats():
        _, _, body = wire.http(client, get("/v2/models/numeric/stats"))
        return json.loads(body)["model_stats"][0]

    before = stats()
    assert wire.http(client, wire.post(INFER, BODY))[0] == 200
    after = stats()
    assert after["inference_count"] == before["inference_count"] + 1
    assert after["last_inference"] >= before["last_inference"]
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]


def test_serving_repository(client, wire):
    ready = [{"name": "numeric", "version": "3", "state": "READY", "reason": ""}]
    for payload in (b"", {}, {"ready": True}):
        status, _, body = wire.http(client, wire.post("/v2/repository/index", payload))
        assert (status, json.loads(body)) == (200, ready)
    load = "/v2/repository/models/numeric/load"
    assert wire.http(client, wire.post(load, b""))[0] == 200
    for path, payload, status in (
        ("/v2/repository/index", {"ready": 1}, 400),
        ("/v2/repository/index", b"{", 400),
        ("/v2/repository/index", [1], 400),
        (load, {"parameters": {"config": "{}"}}, 400),
        ("/v2/repository/models/other/load", {}, 404),
    ):
        assert wire.http(client, wire.post(path, payload))[0] == status
    assert wire.http(client, get("/v2/repository/index"))[0] == 405


# predictions


def test_serving_v1_predicts(client, wire):
    for path in ("/v1/models/numeric:predict", "/v1/models/numeric/versions/3:predict"):
        rows = {"instances": [[2, 0, 0, 0], {"a": 1}][:1]}
        status, _, body = wire.http(client, wire.post(path, rows))
        assert (status, json.loads(body)) == (200, {"predictions": ["high"]})
    quoted = wire.http(client, wire.post("/v1/models/numeric%3Apredict", {"instances": [{}]}))
    assert quoted[0] == 200  # every column is nullable
    assert wire.http(client, wire.post("/v1/models/numeric:explain", {}))[0] == 404
    assert wire.http(client, get("/v1/models/numeric:predict"))[0] == 405


def test_serving_curl_without_a_content_type(client, wire):
    raw = wire.post(INFER, BODY).replace(b"application/json", b"application/x-www-form-urlencoded")
    assert wire.http(client, raw)[0] == 200


def test_serving_every_kind_in_binary_and_back(echo, wire):
    inputs = [
        {
            "name": f"in_{kind}",
            "shape": [2],
            "datatype": kind,
            "parameters": {"binary_data_size": len(raw)},
        }
        for kind, raw in ARRAYS.items()
    ]
    request = {"id": "7", "inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(request).encode()
    framed = head + b"".join(ARRAYS.values())
    with echo.connect() as client:
        for packed, more in (
            (framed, ()),
            (gzip.compress(framed), ("Content-Encoding: gzip",)),
        ):
            raw = wire.post(
                "/v2/models/echo/infer",
                packed,
                f"Inference-Header-Content-Length: {len(head)}",
                *more,
            ).replace(b"application/json", b"application/octet-stream")
            status, headers, body = wire.http(client, raw)
            assert (status, headers["content-type"]) == (200, "application/octet-stream")
            at = int(headers["inference-header-content-length"])
            answer = json.loads(body[:at])
            assert answer["id"] == "7"
            assert [o["name"] for o in answer["outputs"]] == [f"out_{kind}" for kind in ARRAYS]
            assert body[at:] == b"".join(ARRAYS.values())
        status, headers, body = wire.http(client, wire.post("/v2/models/echo/infer", packed[:9]))
        assert (status, headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [
        ("Inference-Header-Content-Length: 9999", 400, "at most the body's"),
        ("Inference-Header-Content-Length: x", 400, "a whole number"),
        ("Content-Encoding: br", 415, "gzip, deflate or none"),
        ("Content-Encoding: gzip", 400, "gzip stream"),
        ("Content-Type: application/json", 400, "content-type: expected once"),
        ("Host: y", 400, "host: expected once"),
        ("Content-Length: 3", 400, "Content-Length"),
        ("Transfer-Encoding: chunked", 400, "HTTP/1.1"),
    ],
)
def test_serving_wrong_headers(client, wire, header, status, words):
    got, _, body = wire.http(client, wire.post(INFER, BODY, header))
    assert (got, words in json.loads(body)["error"]) == (status, True), body


def test_serving_a_body_that_grows_is_refused(client, wire):
    packed = gzip.compress(b" " * (17 * 1024 * 1024))
    assert len(packed) < 20_000
    raw = wire.post(INFER, packed, "Content-Encoding: gzip")
    assert wire.http(client, raw)[0] == 413
    assert wire.http(client, wire.post(INFER, BODY))[0] == 200


# HTTP


def test_serving_options_tell_the_methods(client, wire):
    for path, allowed in (
        ("/v2", "GET, HEAD, OPTIONS"),
        (INFER, "POST, OPTIONS"),
        ("*", "GET, HEAD, POST, OPTIONS"),
    ):
        status, headers, _ = wire.http(client, get(path, method="OPTIONS"))
        assert (status, headers["allow"]) == (200, allowed)
    assert wire.http(client, get("/nowhere", method="OPTIONS"))[0] == 404
    for method in ("DELETE", "TRACE", "PATCH"):
        status, headers, _ = wire.http(client, get(INFER, method=method))
        assert (status, headers["allow"]) == (405, "POST, OPTIONS")


def test_serving_a_tunnel_is_refused_and_the_connection_ends(client, wire):
    status, headers, _ = wire.http(client, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    assert (status, headers["connection"]) == (405, "close")
    assert client.recv(1) == b""


def test_serving_an_escaped_slash_is_no_slash(client, wire):
    assert wire.http(client, get("/v2%2Fmodels"))[0] == 404
    assert wire.http(client, get("/v2/models%2Fnumeric"))[0] == 404
    assert wire.http(client, get("/v2/mod%65ls/%6eumeric"))[0] == 200


def test_serving_other_headers_may_come_twice(client, wire):
    assert wire.http(client, get("/v2", "Accept: a", "Accept: b", "X: 1", "X: 2"))[0] == 200
    many = wire.http(client, get("/v2", *(["X: " + "y" * 900] * 60)))
    assert (many[0], many[1]["connection"]) == (431, "close")


# the description of it all


def test_serving_openapi_describes_what_is_there(client, wire, replica):
    _, _, body = wire.http(client, get("/openapi.json"))
    document = json.loads(body)
    assert document["openapi"] == "3.1.0"
    for path, operations in document["paths"].items():
        for method in operations:
            with replica.connect() as fresh:
                raw = wire.post(path, b"") if method == "post" else get(path)
                if path.endswith("/unload"):
                    continue
                status, _, _ = wire.http(fresh, raw)
                assert status in (200, 400), path
                assert str(status) in operations[method]["responses"]
    references = json.dumps(document).split('"$ref": "#/components/schemas/')[1:]
    assert {r.partition('"')[0] for r in references} <= document["components"]["schemas"].keys()
    rows = document["components"]["schemas"]["V1Request"]["properties"]["instances"]
    assert [len(kind["items"].get("prefixItems", ())) for kind in rows["anyOf"]] == [4, 0]
