"""Plain curl at a real deployment: what HTTP leaves open, and what each fault is told."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
import zlib
from dataclasses import dataclass

import pytest

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't installed"),
]

LIMIT = 16 << 20  # bytes of a body


@dataclass(frozen=True)
class Came:
    """`head` is the last answer's; `talk` all that curl -v said."""

    status: int
    head: dict[str, str]
    body: bytes
    talk: str

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def outputs(self):
        assert self.status == 200, self.body
        return {one["name"]: one["data"] for one in self.json["outputs"]}

    @property
    def error(self) -> str:
        assert set(self.json) == {"error"}, self.body
        assert self.head["content-type"] == "application/json"
        return self.json["error"]


@pytest.fixture
def curl(command, tmp_path):
    def call(*words, body: bytes | dict | None = None) -> Came:
        if body is not None:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            (tmp_path / "sent").write_bytes(sent)
            words = (*words, "--data-binary", f"@{tmp_path / 'sent'}")
        head, came = tmp_path / "head", tmp_path / "came"
        came.write_bytes(b"")
        talk = command(["curl", "-sSv", "-m", "60", "-D", head, "-o", came, *words])
        blocks = head.read_text().replace("\r", "").strip().split("\n\n")
        first, *lines = blocks[-1].split("\n")
        fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        return Came(int(first.split()[1]), fields, came.read_bytes(), talk)

    return call


@pytest.fixture
def blend(served):
    return served["blend"]


@pytest.fixture
def infer(blend):
    return f"{blend['url']}/v2/models/blend/infer"


def flat(values):
    return [v for part in values for v in flat(part)] if isinstance(values, list) else [values]


def tensor(name, shape, data, datatype="FP32", **more):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def question(blend, *, nested=False):
    image, scale = blend["image"], blend["scale"]
    return {
        "id": "one",
        "inputs": [
            tensor("image", [3, 2, 3], image if nested else flat(image)),
            tensor("scale", [3], scale),
        ],
    }


def test_json_in_all_ways_that_curl_sends_it(curl, blend, infer):
    expected = {"sum": blend["sum"], "negative": flat(blend["negative"])}
    for nested in (False, True):
        came = curl(infer, body=question(blend, nested=nested))
        assert came.outputs == expected
        assert came.json["id"] == "one"
        assert (came.json["model_name"], came.json["model_version"]) == ("blend", "1")
    body = json.dumps(question(blend)).encode()
    named = ("-H", "Content-Type: application/json")
    for words in (
        named,
        ("-H", "Content-Type: application/json; charset=utf-8"),
        ("--compressed",),
        ("-H", "Transfer-Encoding: chunked", *named),
        ("-H", "Expect: 100-continue"),
        ("-H", "Connection: close"),
        ("--http1.0",),
        ("--http2",),  # an upgrade that isn't taken
        ("-H", "Accept: */*;q=0.1"),
    ):
        assert curl(infer, *words, body=body).outputs == expected, words
    for coding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        header = f"Content-Encoding: {coding}"
        assert curl(infer, "-H", header, body=packed).outputs == expected, coding
        came = curl(infer, "-H", header, "-H", "Transfer-Encoding: chunked", body=packed)
        assert came.outputs == expected, coding
    one = curl(f"{blend['url']}/v2/models/blend/versions/1/infer", body=body)
    assert one.outputs == expected


def test_expect_is_answered_before_a_large_body(curl, infer):
    rows = 100_000
    body = struct.pack(f"<{rows * 6}f", *[1.0] * rows * 6) + struct.pack(f"<{rows}f", *[2.0] * rows)
    head = json.dumps(
        {
            "inputs": [
                {"name": name, "shape": shape, "datatype": "FP32",
                 "parameters": {"binary_data_size": size}}
                for name, shape, size in (("image", [rows, 2, 3], rows * 24),
                                          ("scale", [rows], rows * 4))
            ],
            "outputs": [{"name": "sum", "parameters": {"binary_data": True}}],
        }
    ).encode()  # fmt: skip
    length = f"Inference-Header-Content-Length: {len(head)}"
    came = curl(infer, "-H", length, "-H", "Expect: 100-continue", body=head + body)
    assert came.status == 200, came.body[:500]
    assert "HTTP/1.1 100" in came.talk
    told = int(came.head["inference-header-content-length"])
    assert came.body[told:] == struct.pack(f"<{rows}f", *[12.0] * rows)


def test_binary_frames_both_ways(curl, blend, infer):
    image = struct.pack("<18f", *flat(blend["image"]))
    scale = struct.pack("<3f", *blend["scale"])
    about = {"name": "image", "shape": [3, 2, 3], "datatype": "FP32"}
    about |= {"parameters": {"binary_data_size": len(image)}}
    mixed = {"inputs": [about, tensor("scale", [3], blend["scale"])]}
    head = json.dumps(mixed).encode()
    length = f"Inference-Header-Content-Length: {len(head)}"
    octets = ("-H", "Content-Type: application/octet-stream")
    came = curl(infer, "-H", length, *octets, body=head + image)
    assert came.outputs == {"sum": blend["sum"], "negative": flat(blend["negative"])}

    both = {"inputs": [about, {**tensor("scale", [3], []), "parameters": {"binary_data_size": 12}}]}
    del both["inputs"][1]["data"]
    both["parameters"] = {"binary_data_output": True}
    both["outputs"] = [
        {"name": "negative"},
        {"name": "sum", "parameters": {"binary_data": False}},
    ]
    head = json.dumps(both).encode()
    length = f"Inference-Header-Content-Length: {len(head)}"
    chunked = ("-H", "Transfer-Encoding: chunked")
    for more in ((), chunked):
        came = curl(infer, "-H", length, *octets, *more, body=head + image + scale)
        assert came.status == 200, came.body
        assert came.head["content-type"] == "application/octet-stream"
        told = int(came.head["inference-header-content-length"])
        negative, total = json.loads(came.body[:told])["outputs"]
        assert (negative["name"], total["name"]) == ("negative", "sum")
        assert negative["parameters"]["binary_data_size"] == len(came.body) - told == 72
        assert struct.unpack("<18f", came.body[told:]) == tuple(flat(blend["negative"]))
        assert total["data"] == blend["sum"]


def test_columns_by_name_and_a_matrix_in_their_order(curl, served):
    homes, wine = served["homes"], served["wine"]
    url = f"{homes['url']}/v2/models/homes/infer"
    count = len(homes["rows"])
    columns = [
        tensor(name, [count, 1], [row[i] for row in homes["rows"]], datatype)
        for i, (name, datatype) in enumerate(zip(homes["columns"], homes["types"], strict=True))
    ]
    wanted = [{"name": "prediction"}]
    came = curl(url, body={"inputs": columns[::-1], "outputs": wanted})
    assert came.outputs == {"prediction": homes["prediction"]}
    for inputs, words in (
        (columns[:3], "district"),
        ([*columns[:3], {**columns[3], "name": "distric"}], 'Did you mean "district"?'),
        ([*columns, columns[0]], "area"),
    ):
        came = curl(url, body={"inputs": inputs})
        assert came.status == 400
        assert words in came.error
    url = f"{wine['url']}/v2/models/wine/infer"
    rows = wine["rows"]
    for name in ("rows", "anything"):
        shape = [len(rows), len(wine["columns"])]
        came = curl(url, body={"inputs": [tensor(name, shape, rows)], "outputs": wanted})
        assert came.outputs == {"prediction": wine["prediction"]}


def test_v1(curl, served):
    homes, pair = served["homes"], served["pair"]
    url = f"{homes['url']}/v1/models/homes:predict"
    rows = [dict(zip(homes["columns"], row, strict=True)) for row in homes["rows"]]
    for instances in (homes["rows"], rows):
        assert curl(url, body={"instances": instances}).json["predictions"] == homes["prediction"]
    columns = {name: [row[name] for row in rows] for name in homes["columns"]}
    assert curl(url, body={"inputs": columns}).json["outputs"] == homes["prediction"]
    body = {"instances": rows, "signature_name": "predict_proba"}
    found = curl(url, body=body).json["predictions"]
    assert found[0] == pytest.approx(homes["probabilities"][0], abs=1e-4)
    for version, factor in pair["factors"].items():
        url = f"{pair['url']}/v1/models/pair/versions/{version}:predict"
        assert curl(url, body={"instances": [1, -2]}).json == {"predictions": [factor, -2 * factor]}
    came = curl(f"{homes['url']}/v1/models/homes")
    assert came.json["model_version_status"][0]["state"] == "AVAILABLE"


def test_two_live_versions_answer_each_and_both(curl, served):
    pair = served["pair"]
    body = {"inputs": [tensor("x", [1], [7], "FP64")]}
    for version, factor in pair["factors"].items():
        came = curl(f"{pair['url']}/v2/models/pair/versions/{version}/infer", body=body)
        assert (came.json["model_version"], came.outputs) == (version, {"y": [7 * factor]})
    came = curl(f"{pair['url']}/v2/models/pair/versions/3/infer", body=body)
    assert came.status == 404
    assert "expected 1 or 2" in came.error
    assert sorted(curl(f"{pair['url']}/v2/models/pair").json["versions"]) == ["1", "2"]


def test_methods_and_one_connection_for_several_requests(curl, blend, infer):
    url = f"{blend['url']}/v2/models/blend"
    head = curl("-I", url)
    assert head.status == 200
    assert "{ [" not in head.talk  # no bytes of a body came
    assert int(head.head["content-length"]) == len(curl(url).body)
    assert curl("-X", "OPTIONS", infer).head["allow"] == "POST, OPTIONS"
    for words in (("-X", "DELETE", url), ("-X", "PUT", infer), (infer,)):
        came = curl(*words)
        assert came.status == 405, words
        assert came.head["allow"]
        assert came.error.startswith("Method: expected")
    came = curl(url, "-o", "/dev/null", f"{blend['url']}/v2/health/live")
    assert came.status == 200
    assert len(re.findall(r"^\* Connected to", came.talk, re.MULTILINE)) == 1, came.talk
    refused = curl(infer, body=b"{")  # a fault doesn't cost the connection
    assert "left intact" in refused.talk


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": 3}, '"inputs": expected a list of tensors'),
        ({"outputs": [{"name": "total"}]}, "total"),
        ({"id": 5}, "id"),
        ({"parameters": []}, "parameters"),
    ],
)
def test_requests_that_do_not_fit(curl, blend, infer, changed, words):
    came = curl(infer, body={**question(blend), **changed})
    assert came.status == 400
    assert words in came.error


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"shape": [3, 2, 2]}, "[3,2,2]"),
        ({"shape": [18]}, "[18]"),
        ({"shape": [3, -2, -3]}, "shape"),
        ({"shape": "3"}, "shape"),
        ({"datatype": "FP64"}, "FP32"),
        ({"datatype": "float"}, "float"),
        ({"data": [1, 2]}, "2"),
        ({"data": ["a"] * 18}, "a"),
        ({"data": [1e39] * 18}, "1e+39"),
        ({"data": None}, "data"),
        ({"name": "imago"}, 'Did you mean "image"?'),
        ({"parameters": {"binary_data_size": 72}}, "binary"),
        ({"parameters": {"shared_memory_region": "a"}}, "shared memory"),
    ],
)
def test_tensors_that_do_not_fit(curl, blend, infer, changed, words):
    body = question(blend)
    body["inputs"][0] |= changed
    came = curl(infer, body=body)
    assert came.status == 400
    assert words in came.error.replace(", ", ",") or words in came.error


def test_what_http_gets_wrong_is_told_with_its_status(curl, blend, infer):
    url, body = blend["url"], json.dumps(question(blend)).encode()
    large = b" " * (LIMIT + 1)
    bomb = gzip.compress(large)
    length = "Inference-Header-Content-Length"
    for status, word, words, sent in (
        (400, "JSON", (infer,), b"{"),
        (400, "body", (infer,), b""),
        (400, "JSON", (infer,), b'{"inputs": [NaN]}'),
        (400, length, (infer, "-H", f"{length}: x"), body),
        (400, length, (infer, "-H", f"{length}: -1"), body),
        (400, length, (infer, "-H", f"{length}: {len(body) + 1}"), body),
        (400, "twice", (infer, "-H", f"{length}: 2", "-H", f"{length}: 3"), body),
        (400, "gzip", (infer, "-H", "Content-Encoding: gzip"), body),
        (404, "other", (f"{url}/v2/models/other/infer",), body),
        (404, "9", (f"{url}/v2/models/blend/versions/9/infer",), body),
        (404, "address", (f"{url}/v3",), None),
        (413, str(LIMIT), (infer,), large),
        (413, str(LIMIT), (infer, "-H", "Expect:"), large),
        (413, str(LIMIT), (infer, "-H", "Transfer-Encoding: chunked"), large),
        (413, str(LIMIT), (infer, "-H", "Content-Encoding: gzip"), bomb),
        (415, "multipart", (infer, "-F", "a=b"), None),
        (415, "application/xml", (infer, "-H", "Content-Type: application/xml"), body),
        (415, "br", (infer, "-H", "Content-Encoding: br"), body),
        (415, "HTTP/1.1", (infer, "--http2-prior-knowledge"), None),
        (417, "tea", (infer, "-H", "Expect: tea"), body),
        (431, "32768", (f"{url}/v2", "-H", f"X-Long: {'a' * 40_000}"), None),
        (431, "100", (f"{url}/v2", *(w for i in range(101) for w in ("-H", f"X-{i}: a"))), None),
    ):
        came = curl(*words, body=sent)
        assert came.status == status, (words[:4], came.body)
        assert word in came.error, (words[:4], came.error)
    assert curl(infer, body=body).status == 200


def test_the_documents(curl, served):
    homes = served["homes"]
    about = curl(f"{homes['url']}/openapi.json").json
    assert about["openapi"].startswith("3.1")
    assert "/v2/models/homes/infer" in about["paths"]
    meta = curl(f"{homes['url']}/v2/models/homes").json
    assert [c["name"] for c in meta["inputs"]] == homes["columns"]
    assert [c["datatype"] for c in meta["inputs"]] == homes["types"]
    assert meta["platform"] in ("onnxruntime", "scikit-learn")
    assert curl(f"{homes['url']}/v2/health/ready").json == {"ready": True}
    index = curl(f"{homes['url']}/v2/repository/index", body=b"{}").json
    assert [(m["name"], m["state"]) for m in index] == [("homes", "READY")]
    assert b"requests" in curl(f"{homes['url']}/metrics").body
