"""The parser: whatever comes in, an answer or a 4xx."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.serving.answers import Formatter
from volant.serving.datatypes import DATATYPES
from volant.serving.description import Description, Tensor, read_description
from volant.serving.metadata import metadata
from volant.serving.oip import parse
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal

NUMBERS = Description(
    task="regression",
    columns=(Field("a", "number", True), Field("b", "number"), Field("c", "integer")),
    classes=None,
    kind="onnx",
    file="model.onnx",
    tensors=(Tensor("x", (0, 1, 2), "float32"),),
    label="y",
)
MIXED = Description(
    task="classification",
    columns=(
        Field("size", "number"),
        Field("colour", "string", True),
        Field("new", "boolean"),
        Field("at", "timestamp", True),
    ),
    classes=("no", "yes"),
    kind="native",
    file="model.pkl",
    tensors=(
        Tensor("size", (0,), "float64"),
        Tensor("colour", (1,), "text"),
        Tensor("new", (2,), "float64"),
        Tensor("at", (3,), "text"),
    ),
    label="prediction",
    probabilities="probabilities",
    prediction="string",
)


def tensor(name, data, datatype="FP32", shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def body(*tensors, **more):
    return json.dumps({"inputs": list(tensors), **more}).encode()


def mixed(**change):
    given = {
        "size": tensor("size", [1, 2.5]),
        "colour": tensor("colour", ["red", None], "BYTES"),
        "new": tensor("new", [True, False], "BOOL"),
        "at": tensor("at", ["2024-05-01T12:00:00Z", None], "BYTES"),
    }
    given.update(change)
    return body(*(t for t in given.values() if t is not None))


def refused(raw, model=NUMBERS) -> str:
    with pytest.raises(Refusal) as caught:
        parse(raw, model)
    assert caught.value.status == 400
    return caught.value.text


def test_serving_matrix_in_signature_order():
    query = parse(body(tensor("any", [1, 2.5, 3, None, 5, 6], shape=[2, 3])), NUMBERS)
    np.testing.assert_array_equal(query.feeds[0], [[1, 2.5, 3], [np.nan, 5, 6]])
    assert query.feeds[0].dtype == np.float32
    nested = parse(body(tensor("any", [[1, 2.5, 3], [4, 5, 6]], shape=[2, 3])), NUMBERS)
    assert nested.feeds[0].tolist() == [[1, 2.5, 3], [4, 5, 6]]


def test_serving_columns_by_name_in_any_order():
    raw = body(
        tensor("c", [3, 6], "INT64", [2, 1]), tensor("a", [1, None]), tensor("b", [2, 5], "FP64")
    )
    np.testing.assert_array_equal(parse(raw, NUMBERS).feeds[0], [[1, 2, 3], [np.nan, 5, 6]])


def test_serving_a_nullable_column_may_stay_away():
    query = parse(body(tensor("b", [2]), tensor("c", [3])), NUMBERS)
    np.testing.assert_array_equal(query.feeds[0], [[np.nan, 2, 3]])


def test_serving_mixed_types():
    query = parse(mixed(), MIXED)
    assert [f.tolist() for f in query.feeds] == [
        [[1.0], [2.5]],
        [["red"], [None]],
        [[1.0], [0.0]],
        [["2024-05-01T12:00:00Z"], [None]],
    ]


def test_serving_what_other_servers_clients_send():
    """MLServer's pandas codec, and KServe's client."""
    codec = {"parameters": {"content_type": "np"}}
    raw = body(
        {**tensor("size", [1, 2.5], "FP64", [2, 1]), **codec},
        {**tensor("colour", ["red", None], "BYTES", [2, 1]), "parameters": {"content_type": "str"}},
        {**tensor("new", [True, False], "BOOL", [2, 1]), **codec},
        {
            **tensor("at", ["2024-05-01T12:00:00", "2024-05-01"], "BYTES", [2, 1]),
            "parameters": {"content_type": "datetime"},
        },
        parameters={"content_type": "pd", "headers": {"x": "y"}},
        model_name="m",
        outputs=[],
    )
    query = parse(raw, MIXED)
    assert [f[:, 0].tolist() for f in query.feeds[:2]] == [[1.0, 2.5], ["red", None]]
    assert query.outputs is None
    coded = {**tensor("colour", ["cmVk", "Ymx1ZQ=="], "BYTES"), "parameters": {}}
    coded["parameters"]["content_type"] = "base64"
    assert parse(mixed(colour=coded), MIXED).feeds[1].tolist() == [["red"], ["blue"]]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "isn't JSON"),
        (b"[1]", "expected a JSON object, got a list of 1"),
        (b'{"inputs": {}}', "expected a list of tensors"),
        (b'{"inputs": []}', "expected a list of tensors"),
        (body(3), "expected tensors (objects), got 3"),
        (body({"name": 1}), "expected a string, got 1"),
        (body(tensor("x", [1], "FLOAT")), 'got "FLOAT"'),
        (body(tensor("x", [1, 2, 3], shape=[-1, 3])), "expected a shape of whole numbers"),
        (body(tensor("x", [1, 2, 3], shape=[True, 3])), "expected a shape of whole numbers"),
        (body(tensor("x", [1, 2], shape=[1, 3])), "expected 3 values for shape"),
        (body(tensor("x", [1, 2], shape=[1, 2])), "expected shape [n, 3]"),
        (body(tensor("x", [], shape=[0, 3])), "at least one row"),
        (body(tensor("x", [[1, 2], [3]], shape=[2, 2])), "expected a list of 2 values"),
        (body(tensor("x", ["1", 2, 3], shape=[1, 3])), 'expected a number or null, got "1"'),
        (body(tensor("x", [1, None, 3], shape=[1, 3])), "expected a number, got null"),
        (body(tensor("x", [1, 2, 3.5], shape=[1, 3])), "expected a whole number, got 3.5"),
        (body(tensor("x", [1e300, 2, 3], shape=[1, 3])), "within float32, got 1e+300"),
        (body(tensor("a", [1]), tensor("c", [1])), "missing b"),
        (body(tensor("a", [1]), tensor("a", [1])), "expected once, got twice"),
        (body(tensor("bb", [1]), tensor("c", [1])), 'Did you mean "b"?'),
        (body(tensor("b", [1]), tensor("c", [1, 2])), "expected shape [1] or [1, 1]"),
        (body(tensor("b", [1], "BYTES"), tensor("c", [1])), "expected a datatype for a number"),
        (body(tensor("b", [True]), tensor("c", [1])), "expected a number, got true"),
        (body(tensor("b", [1]), tensor("c", [300], "INT8")), "from -128 to 127 (INT8), got 300"),
        (body(tensor("b", [1]), tensor("c", [1]), id=7), '"id": expected a string, got 7'),
        (body(tensor("b", [1]), tensor("c", [1]), parameters=[]), '"parameters"'),
        (body(tensor("b", [1]), tensor("c", [1]), outputs=[{"name": "p"}]), "expected some of"),
    ],
)
def test_serving_client_faults_are_named(raw, words):
    assert words in refused(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": tensor("colour", [1, "x"], "BYTES")}, "expected a string or null, got 1"),
        ({"colour": tensor("colour", [1, 2], "INT64")}, "expected a datatype for a string"),
        ({"new": tensor("new", [2, 0], "BOOL")}, "expected true or false, got 2"),
        ({"at": tensor("at", ["noon", None], "BYTES")}, "expected a time in ISO 8601 or null, got"),
        ({"new": None}, "missing new"),
        ({"size": tensor("size", [None, 1])}, "expected a number, got null"),
    ],
)
def test_serving_client_faults_in_mixed_columns(change, words):
    assert words in refused(mixed(**change), MIXED)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
loose_tensor = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "c", "size", "colour", "new", "at", "x"]) | anything,
        "datatype": st.sampled_from(DATATYPES) | anything,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | anything,
        "data": st.lists(scalars, max_size=8) | anything,
    },
)
loose_request = st.fixed_dictionaries(
    {"inputs": st.lists(loose_tensor, max_size=5) | anything},
    optional={"id": anything, "parameters": anything, "outputs": anything},
)


def judge(raw: bytes, model: Description) -> None:
    query, refusal = None, None
    try:
        query = parse(raw, model)
    except Refusal as caught:
        refusal = caught
    if query is None:
        assert 400 <= refusal.status < 500
        assert orjson.dumps(refusal.text.encode(errors="replace").decode())
        return
    assert query.rows >= 1
    for feed, t in zip(query.feeds, model.tensors, strict=True):
        assert feed.shape == (query.rows, len(t.columns))


@settings(max_examples=400, deadline=None)
@given(anything | loose_request, st.sampled_from([NUMBERS, MIXED]))
def test_serving_any_json_is_answered_or_refused(value, model):
    judge(json.dumps(value).encode(errors="surrogatepass"), model)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_serving_any_bytes_are_answered_or_refused(raw):
    judge(raw, NUMBERS)


NUMERIC_TYPES = ["FP32", "FP64"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-(2.0**99), 2.0**99, width=32),
            st.floats(-(2.0**99), 2.0**99, width=32),
            st.integers(-(2**24), 2**24),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(NUMERIC_TYPES),
)
def test_serving_matrix_and_columns_say_the_same(rows, datatype):
    flat = [v for row in rows for v in row]
    one = parse(body(tensor("x", flat, datatype, [len(rows), 3])), NUMBERS)
    named = [tensor(n, [r[i] for r in rows], datatype) for i, n in enumerate("abc")]
    many = parse(body(*reversed(named)), NUMBERS)
    np.testing.assert_array_equal(one.feeds[0], many.feeds[0])
    expected = [[np.nan if v is None else v for v in row] for row in rows]
    np.testing.assert_array_equal(one.feeds[0], np.array(expected, dtype=np.float32))


def test_serving_answers_are_json_without_nan():
    formatter = Formatter("m", "3", MIXED)
    labels = np.array(["no", "yes"], dtype=object)
    answer = Answer((labels, np.array([[0.25, 0.75], [np.nan, np.nan]])))
    out = json.loads(formatter.body(Query(2, (), id="é"), answer))
    assert out["id"] == "é"
    assert out["outputs"][0] == {
        "name": "prediction",
        "datatype": "BYTES",
        "shape": [2],
        "data": ["no", "yes"],
    }
    assert out["outputs"][1]["data"] == [0.25, 0.75, None, None]
    assert out["outputs"][1]["parameters"] == {"classes": ["no", "yes"]}
    only = json.loads(formatter.body(Query(2, (), outputs=("prediction",)), answer))
    assert [o["name"] for o in only["outputs"]] == ["prediction"]


def test_serving_metadata_is_real():
    described = metadata("m", ["3"], MIXED)
    assert [c["datatype"] for c in described["inputs"]] == ["FP64", "BYTES", "BOOL", "BYTES"]
    assert described["outputs"][1]["shape"] == [-1, 2]


@pytest.mark.parametrize("broken", [{}, {"format": 2}, {"format": 1, "signature": {"inputs": 3}}])
def test_serving_a_wrong_description_is_refused(broken):
    with pytest.raises(InvalidInput, match=r"volant\.json can't be used"):
        read_description(broken)
