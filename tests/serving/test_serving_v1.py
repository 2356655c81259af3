"""Protocol V1: rows, objects, columns, tensors, and what comes back."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.model import Field
from volant.serving import v1
from volant.serving.description import Description, Output, Tensor, TensorInput
from volant.serving.query import Answer
from volant.serving.refusal import Refusal

TABLE = Description(
    "classification",
    (Field("size", "number", True), Field("rooms", "integer"), Field("colour", "string")),
    ("no", "yes"),
    "native",
    "m.pkl",
    (Tensor("size", (0,), "float64"), Tensor("rooms", (1,), "float64"), Tensor("c", (2,), "text")),
    probabilities="probabilities",
    prediction="string",
)
IMAGE = Description(
    "other",
    (),
    None,
    "torch",
    "m",
    (),
    inputs=(TensorInput("x", "FP32", (-1, 2, 2)),),
    outputs=(Output("a", "FP32", (-1, 2)), Output("b", "INT64", (-1,))),
)
TEXTS = Description(
    "other",
    (),
    None,
    "transformers",
    "",
    (),
    inputs=(TensorInput("text", "BYTES", (-1,)),),
    outputs=(Output("y", "BYTES", (-1,)),),
)
ANSWER = Answer((np.array(["no", "yes"], dtype=object), np.array([[0.75, 0.25], [0.5, 0.5]])))


def parse(model=TABLE, **request):
    return v1.parse(json.dumps(request).encode(), model)


def feeds(query):
    return [feed[:, 0].tolist() for feed in query.feeds]


@pytest.mark.parametrize(
    "request_body",
    [
        {"instances": [[1.5, 2, "red"], [2, 3, "blue"]]},
        {
            "instances": [
                {"colour": "red", "size": 1.5, "rooms": 2},
                {"rooms": 3, "size": 2, "colour": "blue"},
            ]
        },
        {"inputs": {"rooms": [2, 3], "size": [1.5, 2], "colour": ["red", "blue"]}},
        {"inputs": {"rooms": [[2], [3]], "size": [[1.5], [2]], "colour": [["red"], ["blue"]]}},
        {"inputs": [[1.5, 2, "red"], [2, 3, "blue"]]},
        {"instances": [[1.5, 2, {"b64": "cmVk"}], [2, 3, "blue"]], "signature_name": "predict"},
    ],
)
def test_serving_v1_rows_objects_and_columns_say_the_same(request_body):
    query, columnar = parse(**request_body)
    assert feeds(query) == [[1.5, 2.0], [2.0, 3.0], ["red", "blue"]]
    said = json.loads(v1.body(query, ANSWER, TABLE, columnar=columnar))
    assert said["predictions"] == ["no", "yes"]
    assert said.get("outputs") == (["no", "yes"] if "inputs" in request_body else None)


def test_serving_v1_probabilities_are_a_signature():
    query, _ = parse(instances=[[1, 2, "x"]] * 2, signature_name="predict_proba")
    said = json.loads(v1.body(query, ANSWER, TABLE, columnar=False))
    assert said == {"predictions": [[0.75, 0.25], [0.5, 0.5]]}


def test_serving_v1_a_nullable_column_may_stay_away():
    query, _ = parse(instances=[{"rooms": 1, "colour": "x"}, {"rooms": 1, "colour": "x"}])
    assert np.isnan(query.feeds[0]).all()


def test_serving_v1_tensors():
    one = [[1, 2], [3, 4.5]]
    answer = Answer((np.ones((2, 2), np.float32), np.array([7, 8])))
    for request in ({"instances": [one, one]}, {"instances": [{"x": one}, {"x": one}]}):
        query, columnar = parse(IMAGE, **request)
        assert query.feeds[0].tolist() == [one, one]
        said = json.loads(v1.body(query, answer, IMAGE, columnar=columnar))
        assert said == {"predictions": [{"a": [1, 1], "b": 7}, {"a": [1, 1], "b": 8}]}
    query, columnar = parse(IMAGE, inputs={"x": [one, one]})
    said = json.loads(v1.body(query, answer, IMAGE, columnar=columnar))
    assert said["outputs"] == {"a": [[1, 1], [1, 1]], "b": [7, 8]}


def test_serving_v1_texts_and_bytes():
    raw = base64.b64encode(b"\xff\xfe").decode()
    query, _ = parse(TEXTS, instances=["a", {"b64": "Yg=="}, {"b64": raw}])
    assert query.feeds[0].tolist() == ["a", "b", b"\xff\xfe"]
    said = json.loads(v1.body(query, Answer(query.feeds), TEXTS, columnar=False))
    assert said == {"predictions": ["a", "b", {"b64": raw}]}


@pytest.mark.parametrize(
    ("request_body", "model", "words"),
    [
        ({}, TABLE, 'Expected "instances" or "inputs", got 0'),
        ({"instances": [[1, 2, "x"]], "inputs": []}, TABLE, "got 2 of them"),
        ({"instances": []}, TABLE, "expected a list of rows"),
        ({"instances": {"a": 1}}, TABLE, "expected a list of rows, got an object"),
        ({"instances": [[1, 2]]}, TABLE, "row 0: expected a list of 3 values"),
        ({"instances": [[1, 2, "x"], {"rooms": 1}]}, TABLE, "row 1: expected a list of 3"),
        ({"instances": [{"rooms": 1}]}, TABLE, "missing colour"),
        ({"instances": [{"rooms": 1, "color": "x"}]}, TABLE, 'Did you mean "colour"?'),
        ({"instances": [["1", 2, "x"]]}, TABLE, 'expected a number or null, got "1"'),
        ({"instances": [[1, 2.5, "x"]]}, TABLE, "expected a whole number, got 2.5"),
        ({"inputs": {"rooms": [1]}}, TABLE, "missing colour"),
        ({"inputs": {"room": [1]}}, TABLE, 'Did you mean "rooms"?'),
        ({"inputs": {"rooms": 3}}, TABLE, "expected a list, got 3"),
        ({"inputs": {"rooms": [1], "colour": ["x", "y"]}}, TABLE, "expected shape [1]"),
        ({"instances": [[1, 2, "x"]], "signature_name": "other"}, TABLE, "signature_name"),
        ({"instances": [[1, 2, "x"]], "signature_name": ["x"]}, TABLE, "signature_name"),
        ({"instances": ["a"], "signature_name": "predict_proba"}, TEXTS, "without probabilities"),
        ({"instances": [[[1, 2], [3]]]}, IMAGE, "expected lists of 2 values"),
        ({"instances": [[1, 2]]}, IMAGE, "expected shape"),
        ({"instances": [{"b64": "!"}]}, TEXTS, "expected base64"),
    ],
)
def test_serving_v1_faults_are_named(request_body, model, words):
    with pytest.raises(Refusal) as caught:
        parse(model, **request_body)
    assert caught.value.status == 400
    assert words in caught.value.text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "b64", "size", "rooms", "colour", "text"]), inner)
    ),
    max_leaves=15,
)


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"instances": anything, "inputs": anything, "signature_name": anything}
    )
    | anything,
    st.sampled_from([TABLE, IMAGE, TEXTS]),
)
def test_serving_v1_any_json_is_answered_or_refused(value, model):
    status = 200
    try:
        query, _ = v1.parse(json.dumps(value).encode(), model)
        assert query.rows >= 1
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400)
