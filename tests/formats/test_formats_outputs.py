"""Which outputs are registered: declared ones hold, others are what the trial shows."""

from __future__ import annotations

import pytest

from volant.domain.model import TensorSpec
from volant.errors import InvalidInput
from volant.formats.draft import Draft
from volant.formats.outputs import settled


def tensor(name, shape, datatype="FP32"):
    return TensorSpec(name, datatype, tuple(shape))


def draft(shape, outputs=(), kind="code"):
    return Draft(kind, "model", "custom", tensors=(tensor("x", shape),), outputs=tuple(outputs))


FOUND = [tensor("y", [-1, 1]), tensor("z", [-1], "INT64")]


def test_found_outputs_are_taken_as_they_are_where_the_inputs_are_of_one_size():
    assert settled(draft([-1, 4]), FOUND) == tuple(FOUND)


def test_sizes_that_may_follow_from_an_inputs_are_open():
    assert settled(draft([-1, -1]), FOUND) == (tensor("y", [-1, -1]), FOUND[1])


def test_declared_ones_hold_in_their_order_and_number_type():
    told = (tensor("z", [-1], "FP64"),)
    assert settled(draft([-1, -1], told), FOUND) == told
    told = (tensor("z", [-1], "INT64"), tensor("y", [-1, -1]))
    assert settled(draft([-1, 4], told), FOUND) == told


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (tensor("w", [-1]), "answers y, z"),
        (tensor("y", [-1, 2]), r"FP32 \[-1, 1\]"),
        (tensor("y", [-1]), r"FP32 \[-1, 1\]"),
        (tensor("y", [-1, 1], "BYTES"), r"FP32 \[-1, 1\]"),
    ],
)
def test_declared_ones_that_the_model_does_not_answer_are_refused(told, words):
    with pytest.raises(InvalidInput, match=words):
        settled(draft([-1, 4], [told]), FOUND)


def test_what_a_graph_tells_is_never_contradicted():
    told = [tensor("y", [-1, -1]), tensor("z", [-1], "INT64")]
    assert settled(draft([-1, 4], told, "onnx"), FOUND) == tuple(told)
    assert settled(draft([-1, -1], told, "onnx"), FOUND) == tuple(told)
    # As many as the values say: NonZero, say, which found none in the example.
    told = [tensor("y", [1, -1], "INT64")]
    found = [tensor("y", [1, 0], "INT64")]
    assert settled(draft([-1], told, "onnx"), found) == tuple(told)


def test_what_a_graph_doesnt_tell_is_found():
    unknown = [tensor("y", []), tensor("z", [-1], "INT64")]
    assert settled(draft([-1, 4], unknown, "onnx"), FOUND)[0] == FOUND[0]


def test_mlflows_names_give_way_to_the_models_own():
    assert settled(draft([-1, 4], [tensor("prediction", [-1])], "mlflow"), FOUND) == tuple(FOUND)
