"""Models that take tensors: names, datatypes, shapes; and what is predicted together."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from volant.errors import InvalidInput
from volant.serving.batching import Batcher
from volant.serving.description import Description, Output, TensorInput, read_description
from volant.serving.limits import BatchLimits
from volant.serving.metadata import config, metadata
from volant.serving.oip import parse
from volant.serving.query import Answer
from volant.serving.refusal import Refusal


def model(*inputs: TensorInput, output: tuple[int, ...] = (-1,)) -> Description:
    outputs = (Output("y", "FP32", output),)
    return Description("other", (), None, "torch", "m", (), inputs=inputs, outputs=outputs)


PAIR = model(TensorInput("ids", "INT64", (-1, 2)), TensorInput("mask", "BOOL", (-1, 2)))


def tensor(name, data, datatype, shape):
    return {"name": name, "data": data, "datatype": datatype, "shape": shape}


def body(*tensors, **more):
    return json.dumps({"inputs": tensors, **more}).encode()


IDS = tensor("ids", [[1, 2], [3, 4]], "INT64", [2, 2])
MASK = tensor("mask", [True, False, 1, 0], "BOOL", [2, 2])


def test_serving_tensors_come_by_name_in_any_order():
    for tensors in ((IDS, MASK), (MASK, IDS)):
        query = parse(body(*tensors), PAIR)
        assert query.rows == 2
        assert query.feeds[0].tolist() == [[1, 2], [3, 4]]
        assert query.feeds[1].tolist() == [[True, False], [True, False]]


def test_the_only_input_of_a_keras_model_has_any_name():
    inputs = (TensorInput("input_layer", "FP32", (-1, 2)),)
    net = replace(model(*inputs), kind="tensorflow")
    query = parse(body(tensor("conv2d_input", [[1, 2]], "FP32", [1, 2])), net)
    assert query.feeds[0].tolist() == [[1, 2]]
    with pytest.raises(Refusal, match="expected once, got twice"):
        parse(body(*(tensor(name, [1, 2], "FP32", [1, 2]) for name in "ab")), net)
    with pytest.raises(Refusal, match="expected shape"):
        parse(body(tensor("x", [1, 2, 3], "FP32", [1, 3])), net)
    with pytest.raises(Refusal, match="expected one of the inputs input_layer"):
        parse(body(tensor("conv2d_input", [1, 2], "FP32", [1, 2])), model(*inputs))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ((IDS,), "missing mask"),
        ((IDS, IDS, MASK), "expected once, got twice"),
        ((IDS, {**MASK, "name": "masks"}), 'Did you mean "mask"?'),
        (({**IDS, "datatype": "INT32"}, MASK), "expected the datatype INT64, got INT32"),
        (({**IDS, "shape": [4, 1], "data": [1, 2, 3, 4]}, MASK), "expected shape"),
        (({**IDS, "shape": [4], "data": [1, 2, 3, 4]}, MASK), "expected shape"),
        ((tensor("ids", [1, 2], "INT64", [1, 2]), MASK), "expected 1 rows"),
        (
            (tensor("ids", [], "INT64", [0, 2]), tensor("mask", [], "BOOL", [0, 2])),
            "at least one row",
        ),
        (({**IDS, "data": [[1, 2], [3]]}, MASK), "expected a list of 2 values, got a list of 1"),
        (({**IDS, "data": [[1, 2]]}, MASK), "nested as its shape"),
        (({**IDS, "data": [1, 2, 3]}, MASK), "expected 4 values"),
        (({**IDS, "data": [1, 2, 3, 4.5]}, MASK), "value 3: expected a whole number"),
        (({**IDS, "data": [1, 2, 3, 2**63]}, MASK), "value 3: expected a whole number from"),
        (({**IDS, "data": [1, 2, 3, "4"]}, MASK), "value 3: expected a whole number"),
        (({**IDS, "data": [1, 2, 3, None]}, MASK), "got null"),
        (({**IDS, "data": [1, 2, 3, True]}, MASK), "got true"),
        ((IDS, {**MASK, "data": [1, 0, 2, 1]}), "value 2: expected true or false"),
        (({**IDS, "shape": [0, 2**40], "data": []}, MASK), "of an empty tensor"),
        (({**IDS, "parameters": {"shared_memory_region": "r"}}, MASK), "shared memory"),
        (({**IDS, "parameters": 3}, MASK), "expected parameters as an object"),
    ],
)
def test_serving_tensor_faults_are_named(tensors, words):
    with pytest.raises(Refusal) as caught:
        parse(body(*tensors), PAIR)
    assert caught.value.status == 400
    assert words in caught.value.text


@pytest.mark.parametrize(
    ("datatype", "value"), [("FP16", 1e6), ("FP32", 1e39), ("BF16", 1e39), ("INT8", 128.0)]
)
def test_serving_values_beyond_their_datatype_are_refused(datatype, value):
    with pytest.raises(Refusal, match="value 1"):
        parse(
            body(tensor("x", [0, value], datatype, [2])), model(TensorInput("x", datatype, (-1,)))
        )


def test_serving_null_is_nan_in_a_floating_tensor():
    query = parse(body(tensor("x", [None, 2], "FP32", [2])), model(TensorInput("x", "FP32", (-1,))))
    np.testing.assert_array_equal(query.feeds[0], [np.nan, 2])


def test_serving_scalars_and_fixed_shapes_are_never_batched():
    fixed = model(TensorInput("x", "FP32", (2, 2)), output=(2,))
    one, other = (parse(body(tensor("x", [1, 2, 3, 4], "FP32", [2, 2])), fixed) for _ in range(2))
    assert not fixed.batchable
    assert one.batch_key != other.batch_key
    scalar = model(TensorInput("x", "FP32", ()), output=())
    assert parse(body(tensor("x", [7], "FP32", [])), scalar).feeds[0].shape == ()


def predicted(model, queries):
    """The sizes of the batches, and each query's first output."""
    sizes = []

    def predict(feeds):
        sizes.append(len(feeds[0]))
        return Answer((feeds[0].sum(axis=1),))

    async def main():
        loop = asyncio.get_running_loop()
        batcher = Batcher(predict, loop, BatchLimits(batch_bytes=1000, inline_s=10.0))
        futures = [loop.create_future() for _ in queries]
        for query, future in zip(queries, futures, strict=True):
            batcher.submit(query, lambda _, outcome, f=future: f.set_result(outcome))
        answers = await asyncio.gather(*futures)
        batcher.close()
        return [answer.outputs[0].tolist() for answer in answers]

    answers = asyncio.run(main())
    return sizes, answers


def test_serving_only_equal_shapes_are_predicted_together_and_bytes_are_bounded():
    ragged = model(TensorInput("x", "FP32", (-1, -1)))

    def query(width, size=10):
        made = parse(body(tensor("x", [1] * width, "FP32", [1, width])), ragged)
        made.size = size
        return made

    asked = [query(2), query(2), query(3), query(3), query(2), query(2, 600), query(2, 600)]
    sizes, answers = predicted(ragged, asked)
    assert sizes == [2, 2, 2, 1]
    assert answers == [[2], [2], [3], [3], [2], [2], [2]]


def test_serving_a_full_queue_of_bytes_says_so():
    async def main():
        loop = asyncio.get_running_loop()
        batcher = Batcher(lambda feeds: Answer(()), loop, BatchLimits(queue_bytes=100))
        query = parse(body(IDS, MASK), PAIR)
        query.size = 80
        batcher.submit(query, lambda *_: None)
        with pytest.raises(Refusal, match="Too busy") as caught:
            batcher.submit(query, lambda *_: None)
        assert (caught.value.status, caught.value.headers) == (503, b"retry-after: 1\r\n")
        await asyncio.sleep(0.01)
        batcher.close()

    asyncio.run(main())


FACTS = {
    "format": 1,
    "task": "other",
    "signature": {
        "kind": "tensors",
        "inputs": [{"name": "x", "datatype": "BF16", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}],
    },
    "runtime": {"kind": "torch", "file": "m.pt2"},
}


def test_serving_tensor_signature_is_read_and_told():
    description = read_description(FACTS)
    assert description.inputs == (TensorInput("x", "BF16", (-1, 3)),)
    assert (description.file, description.batchable, description.ragged) == ("m.pt2", True, False)
    told = metadata("m", ["1", "2"], description)
    assert (told["platform"], told["versions"]) == ("pytorch", ["1", "2"])
    assert told["inputs"] == FACTS["signature"]["inputs"]
    assert told["outputs"] == FACTS["signature"]["outputs"]
    assert config("m", description)["output"] == [
        {"name": "y", "data_type": "TYPE_STRING", "dims": [-1]}
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [{"name": "x", "datatype": "FLOAT", "shape": [1]}],
        [{"name": "x", "datatype": "FP32", "shape": [-2]}],
        [{"name": "x", "datatype": "FP32", "shape": [1]}] * 2,
    ],
)
def test_serving_a_wrong_tensor_signature_is_refused(inputs):
    with pytest.raises(InvalidInput):
        read_description({**FACTS, "signature": {**FACTS["signature"], "inputs": inputs}})
