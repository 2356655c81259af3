"""Tensors of every datatype, in JSON and in binary, there and back."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volant.domain.model import Field
from volant.serving.answers import Formatter
from volant.serving.binary import json_length, pack, unpack
from volant.serving.datatypes import DATATYPES, DTYPE, WIRE, from_bf16, to_bf16
from volant.serving.description import Description, Output, Tensor, TensorInput
from volant.serving.oip import parse
from volant.serving.query import Answer
from volant.serving.refusal import Refusal


def echo(datatype: str, shape: tuple[int, ...]) -> Description:
    return Description(
        "other",
        (),
        None,
        "onnx",
        "m.onnx",
        (),
        inputs=(TensorInput("x", datatype, shape),),
        outputs=(Output("y", datatype, shape),),
    )


TWO = Description(
    "other",
    (),
    None,
    "torch",
    "m.pt",
    (),
    inputs=(TensorInput("ids", "INT64", (-1, -1)), TensorInput("words", "BYTES", (-1, 1))),
    outputs=(Output("y", "FP32", (-1, 2)),),
)
TABLE = Description(
    "regression",
    (
        Field("a", "number", True),
        Field("n", "integer"),
        Field("b", "boolean"),
        Field("s", "string"),
    ),
    None,
    "native",
    "m.pkl",
    (
        Tensor("a", (0,), "float64"),
        Tensor("n", (1,), "float64"),
        Tensor("b", (2,), "float64"),
        Tensor("s", (3,), "text"),
    ),
)
MATRIX = Description(
    "regression",
    (Field("a", "number", True), Field("n", "integer")),
    None,
    "onnx",
    "m.onnx",
    (Tensor("x", (0, 1), "float32"),),
    label="y",
)


def frame(tensors, **more):
    """A body with each tensor's raw bytes behind the JSON, and the length of the JSON."""
    inputs, raws = [], []
    for name, shape, datatype, raw in tensors:
        size = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "shape": shape, "datatype": datatype, "parameters": size})
        raws.append(raw)
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(raws), len(head)


def refused(body, length, model) -> str:
    with pytest.raises(Refusal) as caught:
        parse(body, model, length)
    assert caught.value.status == 400
    return caught.value.text


def values(datatype, shape):
    if datatype == "BYTES":
        return hnp.arrays(object, shape, elements=st.text(max_size=9) | st.just("é\x00"))
    if datatype == "BF16":
        words = hnp.arrays(np.uint16, shape)
        return words.map(from_bf16)
    finite = {"allow_nan": False} if datatype.startswith("FP") else None
    return hnp.arrays(DTYPE[datatype], shape, elements=finite)


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    return datatype, draw(values(datatype, shape))


def same(one, other):
    assert one.shape == other.shape
    if one.dtype == object:
        assert one.tolist() == other.tolist()
    else:
        np.testing.assert_array_equal(one, other)


@settings(max_examples=100, deadline=None)
@given(tensors())
def test_serving_binary_goes_in_and_out_as_it_was(case):
    datatype, array = case
    model = echo(datatype, tuple(-1 for _ in array.shape))
    body, length = frame(
        [("x", array.shape, datatype, pack(array, datatype))],
        parameters={"binary_data_output": True},
    )
    query = parse(body, model, length)
    same(query.feeds[0], array)
    assert query.feeds[0].dtype == DTYPE[datatype]
    answer, at = Formatter("m", "1", model).frame(query, Answer(query.feeds))
    output = orjson.loads(answer[:at])["outputs"][0]
    assert output["parameters"]["binary_data_size"] == len(answer) - at
    same(unpack(answer[at:], "y", datatype, output["shape"]).reshape(output["shape"]), array)


@settings(max_examples=100, deadline=None)
@given(tensors(), st.booleans())
def test_serving_json_goes_in_and_out_as_it_was(case, nested):
    datatype, array = case
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return  # JSON has no infinity
    model = echo(datatype, tuple(-1 for _ in array.shape))
    data = array.tolist() if nested else array.reshape(-1).tolist()
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype, "data": data}
    query = parse(json.dumps({"inputs": [tensor]}).encode(), model)
    same(query.feeds[0], array)
    output = orjson.loads(Formatter("m", "1", model).body(query, Answer(query.feeds)))["outputs"][0]
    assert (output["shape"], output["datatype"]) == (list(array.shape), datatype)
    same(np.array(output["data"], dtype=array.dtype).reshape(array.shape), array)


@given(hnp.arrays(np.float32, 5))
def test_serving_bf16_is_the_nearest(single):
    back = from_bf16(to_bf16(single))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(single))
    assert (to_bf16(back) == to_bf16(single)).all()
    good = np.isfinite(single) & np.isfinite(back)
    # Eight bits of significand: off by at most half of the last one.
    exact, rounded = single[good].astype(np.float64), back[good].astype(np.float64)
    assert (abs(rounded - exact) <= abs(exact) * 2.0**-8 + 2.0**-134).all()


def test_serving_aligned_binary_is_a_view():
    raw = np.arange(8, dtype="<f4").tobytes()
    for pad in range(8):
        body = b" " * pad + raw
        view = unpack(memoryview(body)[pad:], "x", "FP32", [8])
        assert view.tolist() == list(range(8))
        assert view.flags.aligned


def test_serving_binary_and_json_inputs_together():
    head = json.dumps(
        {
            "inputs": [
                {"name": "words", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]},
                {
                    "name": "ids",
                    "shape": [2, 3],
                    "datatype": "INT64",
                    "parameters": {"binary_data_size": 48},
                },
            ]
        }
    ).encode()
    query = parse(head + np.arange(6, dtype="<i8").tobytes(), TWO, len(head))
    assert query.feeds[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert query.feeds[1].tolist() == [["a"], ["b"]]
    assert query.rows == 2
    assert query.batch_key == ((3,), (1,))


def test_serving_outputs_are_binary_one_by_one_and_in_the_order_asked():
    model = Description(
        "classification",
        MATRIX.columns,
        ("no", "yes"),
        "onnx",
        "m.onnx",
        MATRIX.tensors,
        label="l",
        probabilities="p",
        prediction="string",
    )
    request = {
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": "probabilities"},
            {"name": "prediction", "parameters": {"binary_data": False}},
        ],
    }
    query = parse(json.dumps(request).encode(), model)
    assert query.binary_outputs == {"probabilities"}
    answer = Answer((np.array(["yes"], dtype=object), np.array([[0.25, 0.75]])))
    body, at = Formatter("m", "1", model).frame(query, answer)
    first, second = orjson.loads(body[:at])["outputs"]
    assert first["parameters"] == {"classes": ["no", "yes"], "binary_data_size": 8}
    assert np.frombuffer(body[at:], "<f4").tolist() == [0.25, 0.75]
    assert (second["name"], second["data"]) == ("prediction", ["yes"])


def test_serving_columns_come_in_binary():
    raw = [
        ("s", [2, 1], "BYTES", pack(np.array(["x", "é"], dtype=object), "BYTES")),
        ("a", [2], "FP16", np.array([1.5, np.nan], dtype="<f2").tobytes()),
        ("n", [2], "UINT8", b"\x03\xff"),
        ("b", [2, 1], "BOOL", b"\x01\x00"),
    ]
    feeds = parse(*_swap(frame(raw), TABLE)).feeds
    np.testing.assert_array_equal(feeds[0], [[1.5], [np.nan]])
    assert [f.tolist() for f in feeds[1:]] == [[[3.0], [255.0]], [[1.0], [0.0]], [["x"], ["é"]]]


def _swap(framed, model):
    return framed[0], model, framed[1]


def test_serving_a_binary_matrix_is_the_feed():
    data = np.array([[1, 2], [np.nan, 4]], dtype="<f4")
    feeds = parse(*_swap(frame([("any", [2, 2], "FP32", data.tobytes())]), MATRIX)).feeds
    np.testing.assert_array_equal(feeds[0], data)
    wide = parse(*_swap(frame([("any", [1, 2], "INT64", b"\x01" + b"\0" * 15)]), MATRIX))
    assert wide.feeds[0].tolist() == [[1.0, 0.0]]
    assert wide.feeds[0].dtype == np.float32


@pytest.mark.parametrize(
    ("data", "datatype", "words"),
    [
        ([[1, 2.5]], "<f4", "expected a whole number, got 2.5"),
        ([[1, np.nan]], "<f4", "expected a whole number, got nan"),
        ([[np.inf, 1]], "<f4", "expected a number or null, got inf"),
        ([[1e300, 1]], "<f8", "within float32"),
    ],
)
def test_serving_binary_values_are_checked(data, datatype, words):
    array = np.array(data, dtype=datatype)
    name = {"<f4": "FP32", "<f8": "FP64"}[datatype]
    body, length = frame([("any", array.shape, name, array.tobytes())])
    assert words in refused(body, length, MATRIX)


FOUR = struct.pack("<I", 4)


@pytest.mark.parametrize(
    ("tensor", "tail", "words"),
    [
        (("x", [2], "FP32", b"1234567"), b"", "expected 8 bytes for FP32"),
        (("x", [2], "FP32", b"12345678"), b"more", "expected 8 bytes behind the JSON"),
        (("x", [2], "BOOL", b"\x01\x02"), b"", "the bytes 0 and 1"),
        (("x", [2], "BYTES", FOUR + b"abcd"), b"", "expected 2 BYTES elements"),
        (("x", [1], "BYTES", FOUR + b"abc"), b"", "expected 4 bytes as its length says, got 3"),
        (("x", [1], "BYTES", b"\x01\x00"), b"", "expected a 4-byte length, got 2"),
        (("x", [2**40], "FP64", b""), b"", f"expected {2**43} bytes"),
    ],
)
def test_serving_malformed_frames_are_named(tensor, tail, words):
    body, length = frame([tensor])
    assert words in refused(body + tail, length, echo(tensor[2], (-1,)))


@pytest.mark.parametrize(
    ("size", "words"),
    [(9, "expected 9 bytes behind the JSON part"), (-1, "a whole number"), ("8", "a whole number")],
)
def test_serving_wrong_binary_sizes_are_named(size, words):
    tensor = {
        "name": "x",
        "shape": [2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    assert words in refused(head + b"12345678", len(head), echo("FP32", (-1,)))
    assert "Inference-Header-Content-Length" in refused(head, None, echo("FP32", (-1,)))
    both = json.dumps({"inputs": [{**tensor, "data": [1, 2]}]}).encode()
    assert "got both" in refused(both + b"12345678", len(both), echo("FP32", (-1,)))


@pytest.mark.parametrize("header", [b"", b"-1", b"1e3", b"0x10", b"11", "²".encode("latin-1")])
def test_serving_wrong_header_lengths_are_refused(header):
    with pytest.raises(Refusal, match="Inference-Header-Content-Length"):
        json_length(header, 10)


def test_serving_a_body_of_nothing_but_data():
    query = parse(np.arange(6, dtype="<f4").tobytes(), echo("FP32", (-1, 3)), 0)
    assert query.feeds[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert parse(b"hello", echo("BYTES", (-1,)), 0).feeds[0].tolist() == ["hello"]
    assert "bytes for FP32" in refused(b"1234567", 0, echo("FP32", (-1, 3)))
    assert "one input tensor" in refused(b"1234", 0, TWO)


def test_serving_bytes_that_are_no_text():
    model = echo("BYTES", (-1,))
    body, length = frame([("x", [1], "BYTES", FOUR + b"\xff\xfe\x00\x01")])
    query = parse(body, model, length)
    assert query.feeds[0].tolist() == [b"\xff\xfe\x00\x01"]
    output = orjson.loads(Formatter("m", "1", model).body(query, Answer(query.feeds)))["outputs"][0]
    assert output["parameters"] == {"content_type": "base64"}
    assert base64.b64decode(output["data"][0]) == b"\xff\xfe\x00\x01"
    again = {**output, "name": "x"}
    assert parse(json.dumps({"inputs": [again]}).encode(), model).feeds[0].tolist() == [
        b"\xff\xfe\x00\x01"
    ]
    again["data"] = ["?"]
    assert "expected base64" in refused(json.dumps({"inputs": [again]}).encode(), None, model)
    table, at = frame(
        [
            ("s", [1], "BYTES", FOUR + b"\xff\xfe\x00\x01"),
            ("n", [1], "INT8", b"\x01"),
            ("b", [1], "BOOL", b"\x01"),
        ]
    )
    assert "expected a string" in refused(table, at, TABLE)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 80), st.sampled_from(DATATYPES), st.integers(0, 99))
def test_serving_any_frame_is_answered_or_refused(raw, size, datatype, cut):
    model = echo(datatype, (-1,))
    count = size // WIRE[datatype].itemsize if datatype in WIRE else 1
    tensor = {
        "name": "x",
        "shape": [count],
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    status = 200
    try:
        query = parse(head + raw, model, min(cut, len(head)))
        assert query.rows >= 1
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400)
