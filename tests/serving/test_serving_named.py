"""What a model answers by name: as much, and of the shape, that it was registered with."""

from __future__ import annotations

import numpy as np
import pytest

from volant.errors import InvalidInput
from volant.formats.prove import _hashes as hashes
from volant.serving.description import Description, Output, TensorInput
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.code import open_model
from volant.serving.runtimes.named import NamedModel, as_named


def described(first: int = -1) -> Description:
    inputs = (TensorInput("x", "FP32", (-1, 1)),)
    outputs = (Output("y", "FP32", (first,)),)
    return Description("custom", (), None, "code", "model", (), inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_serving_named_answers_of_another_number_of_rows_are_refused(answered):
    model = NamedModel(described(), lambda feeds: {"y": np.zeros(answered)})
    with pytest.raises(InvalidInput, match=f"for {answered} rows; it was asked for 2"):
        model.predict([np.zeros((2, 1))])


def test_serving_named_answers_of_a_fixed_size_have_that():
    model = NamedModel(described(3), lambda feeds: {"y": np.zeros(3)})
    assert model.predict([np.zeros((2, 1))]).outputs[0].shape == (3,)


@pytest.mark.parametrize("answer", [[[1], [1, 2]], {"y": [[1], []]}, ([1], [[1], [1, 2]])])
def test_serving_named_lists_of_different_lengths_are_no_array(answer):
    with pytest.raises(InvalidInput, match="is no array"):
        as_named(answer)


def test_serving_named_ragged_lists_are_the_models_own_fault(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n"
        "    def predict(self, inputs):\n"
        "        if inputs['x'][0] < 0:\n"
        "            raise ValueError('negative')\n"
        "        return {'y': [[1], [1, 2]]}\n"
    )
    model = open_model(ModelFiles(tmp_path, hashes(tmp_path)), described(), {})
    with pytest.raises(InvalidInput, match="is no array"):
        model.predict([np.zeros((2, 1))])
    with pytest.raises(Refusal, match="negative"):
        model.predict([np.full((2, 1), -1)])
