"""The quick reading of usual questions says exactly what the closer look says."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.model import Field
from volant.serving import oip
from volant.serving.description import Description, Tensor
from volant.serving.given import of_json
from volant.serving.quick import usual
from volant.serving.refusal import Refusal
from volant.serving.tabular import table_feeds


def model(types, dtype="float32") -> Description:
    columns = tuple(Field(f"c{i}", kind, True) for i, kind in enumerate(types))
    tensors = (Tensor("x", tuple(range(len(columns))), dtype),)
    return Description("regression", columns, None, "onnx", "m.onnx", tensors, label="y")


def closer_look(inputs, description):
    try:
        return table_feeds([of_json(tensor, None) for tensor in inputs], description)
    except Refusal as refusal:
        return refusal.text


VALUES = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([2**63, -(2**63) - 1, 2**70, 0.5, -0.0, 3.0, 1e30, 3.5e38, 1e308]),
    st.floats(allow_nan=False, allow_infinity=False),  # JSON has neither
    st.sampled_from([None, True, "1", [1]]),
)
TYPES = st.lists(st.sampled_from(["number", "integer"]), min_size=1, max_size=3)
NAMES = st.sampled_from(["c0", "c1", "c2", "rows", 3])
SHAPES = st.one_of(
    st.lists(st.integers(-1, 3), max_size=3), st.sampled_from([[True], [1.0], None, [1, True]])
)


@st.composite
def tensors(draw):
    return {
        "name": draw(NAMES),
        "shape": draw(SHAPES),
        "datatype": draw(st.sampled_from(["FP64", "FP32", "INT64", "INT8", "BYTES", "NO", None])),
        "data": draw(st.lists(VALUES, max_size=6)),
    }


@st.composite
def questions(draw):
    """Mostly well formed, so that the quick way is taken often."""
    types = draw(TYPES)
    width = len(types)
    datatype = draw(st.sampled_from(["FP64", "FP32", "INT64", "INT8"]))
    kind = draw(st.sampled_from(["matrix", "row", "any"]))
    if kind == "any":
        return types, draw(st.lists(tensors(), min_size=1, max_size=3))
    if kind == "matrix":
        rows = draw(st.integers(1, 3))
        data = draw(st.lists(VALUES, min_size=rows * width, max_size=rows * width))
        return types, [{"name": "m", "shape": [rows, width], "datatype": datatype, "data": data}]
    order = draw(st.permutations(range(width)))
    shape = draw(st.sampled_from([[1], [1, 1]]))
    return types, [
        {"name": f"c{i}", "shape": shape, "datatype": datatype, "data": [draw(VALUES)]}
        for i in order
    ]


@given(questions(), st.sampled_from(["float32", "float64"]))
def test_serving_quick_agrees_with_the_closer_look(question, dtype):
    types, inputs = question
    description = model(types, dtype)
    quick = usual(inputs, description)
    if quick is None:
        return
    rows, feeds = quick
    other = closer_look(inputs, description)
    assert not isinstance(other, str), f"the closer look refuses: {other}"
    assert rows == other[0]
    assert feeds[0].dtype == other[1][0].dtype
    np.testing.assert_array_equal(feeds[0], other[1][0])


def test_serving_quick_takes_the_usual_questions():
    numbers = model(["number", "integer"])
    matrix = {"name": "m", "shape": [2, 2], "datatype": "FP64", "data": [0.5, 1, 2, 3]}
    rows, feeds = usual([matrix], numbers) or (0, ())
    assert (rows, feeds[0].tolist()) == (2, [[0.5, 1], [2, 3]])
    row = [
        {"name": "c1", "shape": [1], "datatype": "INT64", "data": [7]},
        {"name": "c0", "shape": [1, 1], "datatype": "FP32", "data": [0.25]},
    ]
    rows, feeds = usual(row, numbers) or (0, ())
    assert (rows, feeds[0].tolist()) == (1, [[0.25, 7]])


def test_serving_quick_leaves_other_models_alone():
    texts = (Field("c0", "string", True),)
    description = Description(
        "regression", texts, None, "onnx", "m", (Tensor("x", (0,), "string"),), label="y"
    )
    question = [{"name": "c0", "shape": [1], "datatype": "BYTES", "data": ["a"]}]
    assert usual(question, description) is None
    assert oip.parse(json.dumps({"inputs": question}).encode(), description).rows == 1
