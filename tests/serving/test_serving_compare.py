"""When a shadow's answer counts as another one."""

from __future__ import annotations

import json
import struct

import pytest

from volant.serving.compare import difference


def answer(data, name="prediction", **more):
    outputs = [{"name": name, "datatype": "FP64", "shape": [len(data)], "data": data}]
    return json.dumps({"model_name": "m", "outputs": outputs, **more}).encode()


def binary(values):
    raw = struct.pack(f"<{len(values)}d", *values)
    one = {"name": "prediction", "datatype": "FP64", "shape": [len(values)]}
    one["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"outputs": [one]}).encode()
    return head + raw, len(head)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (answer([1.0, 2.0]), answer([1.0005, 2.0]), None),
        (answer([0.0]), answer([1e-7]), None),
        (answer([1.0], model_version="1"), answer([1.0], model_version="2", id="x"), None),
        (answer([1.0]), answer([1.1]), "[0] of data of prediction of the answer: 1.0 and 1.1"),
        (answer(["a"]), answer(["b"]), "'a' and 'b'"),
        (answer([True]), answer([1]), None),
        (answer([1.0]), answer([1.0, 2.0]), "shape"),
        (answer([1.0]), answer([1.0], name="other"), "['prediction'] and ['other']"),
        (b'{"predictions":[[1,2]]}', b'{"predictions":[[1,3]]}', "2 and 3"),
    ],
)
def test_serving_differences(ours, theirs, words):
    found = difference(ours, len(ours), theirs, len(theirs))
    assert (found is None) if words is None else (words in found)


def test_serving_binary_answers_are_compared_with_plain_ones():
    (ours, length), plain = binary([1.0, 2.5]), answer([1.0, 2.5])
    assert difference(ours, length, plain, len(plain)) is None
    theirs, other = binary([1.0, 9.0])
    assert "2.5 and 9.0" in difference(ours, length, theirs, other)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nonsense", b'{"error": "x"}'])
def test_serving_what_is_no_answer_cannot_be_compared(body):
    with pytest.raises(ValueError):
        difference(answer([1.0]), len(answer([1.0])), body, len(body))
