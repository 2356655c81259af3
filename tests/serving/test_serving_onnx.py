"""ONNX Runtime's answers as the signature promises them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from volant.domain.model import Field
from volant.serving.description import Description, Output, Tensor, TensorInput
from volant.serving.refusal import Refusal
from volant.serving.runtimes.onnx import OnnxModel


def shares(kind: int, dtype: str) -> OnnxModel:
    """Two columns go out as the probabilities; the label is the larger one."""
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["p"]),
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        ],
        "shares",
        [helper.make_tensor_value_info("x", kind, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("p", kind, [None, 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    columns = tuple(Field(name, "number", nullable=False) for name in "ab")
    description = Description(
        task="classification",
        columns=columns,
        classes=(0, 1),
        kind="onnx",
        file="model.onnx",
        tensors=(Tensor("x", (0, 1), dtype),),
        label="label",
        probabilities="p",
        prediction="integer",
    )
    onnx.checker.check_model(model)
    return OnnxModel(model.SerializeToString(), description)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT, "float32"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.FLOAT16, "float16"),
    ],
)
def test_serving_onnx_probabilities_stay_within_one(kind, dtype):
    model = shares(kind, dtype)
    fed = np.array([[-1e-3, 1.001], [0.25, 0.75]], dtype=dtype)
    labels, found = model.predict([fed]).outputs
    assert labels.tolist() == [1, 1]
    assert found.dtype == dtype
    assert found.tolist() == [[0.0, 1.0], [0.25, 0.75]]
    assert fed[0, 0] < 0  # what was fed is left alone


def test_serving_onnx_refuses_what_it_cant_take():
    with pytest.raises(Refusal, match="can't take these values"):
        shares(TensorProto.FLOAT, "float32").predict([np.zeros((1, 2))])


def test_serving_onnx_takes_no_text_for_bytes_that_are_none():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [None])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [None])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = OnnxModel(
        made.SerializeToString(),
        Description(
            task="tensors",
            columns=(),
            classes=None,
            kind="onnx",
            file="model.onnx",
            tensors=(),
            inputs=(TensorInput("x", "BYTES", (-1,)),),
            outputs=(Output("y", "BYTES", (-1,)),),
        ),
    )
    assert model.predict([np.array(["ü"], dtype=object)]).outputs[0].tolist() == ["ü"]
    with pytest.raises(Refusal, match="UTF-8") as caught:
        model.predict([np.array(["ü", b"\xff\xfe"], dtype=object)])
    assert caught.value.status == 400
