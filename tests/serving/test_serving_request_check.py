"""A request that somebody pasted: what a deployment would say, and more kindly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.serving.request_check import check_request

CONTROLS = [
    {"name": "sulfur", "type": "number", "nullable": False, "seen": 9, "min": 10, "max": 270},
    {"name": "density", "type": "number", "nullable": False, "seen": 9, "min": 0.98, "max": 1.01},
    {"name": "color", "type": "string", "nullable": True, "seen": 9, "values": ["red"]},
]
NUMBERS = CONTROLS[:2]


def check(request, controls=CONTROLS, **options):
    text = request if isinstance(request, str) else json.dumps(request)
    found = check_request(text, controls, **options)
    return [(each["level"], each["told"]) for each in found["findings"]], found["better"]


def column(name, *data, **more):
    return {"name": name, "shape": [len(data)], "datatype": "FP64", "data": list(data), **more}


def test_columns_by_name_in_their_order_are_fine():
    request = {"inputs": [column("sulfur", 50, 60), column("density", 1, 0.99), column("color")]}
    request["inputs"][2]["data"] = ["red", None]
    findings, better = check(request)
    assert [level for level, _ in findings] == ["fine"]
    assert [tensor["data"] for tensor in better["inputs"]] == [[50, 60], [1, 0.99], ["red", None]]
    assert better["inputs"][2]["datatype"] == "BYTES"


def test_another_order_by_name_is_matched():
    findings, better = check({"inputs": [column("density", 1.0), column("sulfur", 50)]})
    assert (
        "fine",
        "The columns come in another order than the model's; they are matched by name.",
    ) in findings
    assert [tensor["name"] for tensor in better["inputs"]] == ["sulfur", "density", "color"]


def test_a_matrix_is_taken_by_position():
    matrix = {"name": "input-0", "shape": [2, 2], "datatype": "FP64"}
    findings, better = check({"inputs": [{**matrix, "data": [[50, 1], [60, 0.99]]}]}, NUMBERS)
    assert [level for level, _ in findings] == ["warning", "fine"]
    assert "sulfur, density" in findings[0][1]
    assert [tensor["data"] for tensor in better["inputs"]] == [[50, 60], [1, 0.99]]


def test_a_matrix_in_another_order_is_seen_and_put_right():
    matrix = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 50, 0.99, 60]}
    findings, better = check({"inputs": [matrix]}, NUMBERS)
    assert "another order" in findings[-1][1]
    assert [tensor["data"] for tensor in better["inputs"]] == [[50, 60], [1, 0.99]]


def test_a_model_of_tensors_has_no_names_to_give():
    matrix = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [50, 1]}
    findings, better = check({"inputs": [matrix]}, NUMBERS, named=False)
    assert [level for level, _ in findings] == ["fine", "fine"]
    assert better is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("{", "isn't JSON"),
        ("[]", "JSON object"),
        ({}, "no list `inputs`"),
        ({"inputs": []}, "needs a name"),
        ({"inputs": [{"data": [1]}]}, "needs a name"),
        ({"inputs": [column("sulphur", 1), column("density", 1)]}, "Did you mean sulfur"),
        ({"inputs": [column("sulfur", 1), column("color", "red")]}, "missing: density"),
        ({"inputs": [column("sulfur", 1), column("sulfur", 1)]}, "comes twice"),
        ({"inputs": [column("sulfur", 1), column("density", 1, 2)]}, "values, not 2"),
        ({"inputs": [column("x", 1, 2, shape=[1, 2])]}, "[rows, 3]"),
        ({"instances": [[1, 2]]}, "A row has 2 values"),
        ({"dataframe_split": {"columns": ["sulfur"], "data": [[1]]}}, "split form"),
    ],
)
def test_errors(request_, words):
    findings, _ = check(request_)
    errors = [told for level, told in findings if level == "error"]
    assert any(words in told for told in errors), findings


def test_pandas_is_translated():
    frame = {"columns": ["density", "sulfur"], "data": [[1.0, 50], [0.99, 60]]}
    _, better = check({"dataframe_split": frame})
    assert better["inputs"][0] == {
        "name": "sulfur",
        "shape": [2],
        "datatype": "FP64",
        "data": [50, 60],
    }


def test_rows_of_protocol_v1():
    _, by_name = check({"instances": [{"density": 1.0, "sulfur": 50}]})
    findings, by_place = check({"instances": [[50, 1.0, "red"]]})
    assert by_name["inputs"][0]["data"] == by_place["inputs"][0]["data"] == [50]
    assert findings[0][0] == "warning"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "instances", "columns", "data", "name", "shape", "sulfur"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_any_json_is_answered(body):
    found = check_request(json.dumps(body), CONTROLS)
    assert found["findings"] or found["better"]
