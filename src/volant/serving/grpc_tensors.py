"""Protobuf tensors to a query, an answer to protobuf.

A tensor's values come raw (`raw_input_contents`, little-endian as in the binary tensor
extension) or typed (`contents`). An answer takes the form of its request; FP16 and BF16
exist only raw, so an answer that has one is raw as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from volant.serving.binary import of_one_type, pack, text_of, unpack
from volant.serving.datatypes import DTYPE, RANGE, WIRE, Array, texts
from volant.serving.description import Description, Output
from volant.serving.given import check
from volant.serving.grpc_messages import ModelInferRequest, ModelInferResponse
from volant.serving.oip import asked, read
from volant.serving.query import Answer, Given, Query
from volant.serving.refusal import Refusal, shown

# Which field of `contents` holds a datatype.
_FIELD: dict[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# The keys (field number and wire type 2) of those whose packed form is an array's bytes.
_PACKED: dict[str, bytes] = {"BOOL": b"\x0a", "FP32": b"\x32", "FP64": b"\x3a"}
_FEW = 32  # values: a list is quicker than the packed form


def parse(body: bytes) -> Any:
    """A `ModelInferRequest`. Raises `Refusal` (400)."""
    try:
        return ModelInferRequest.FromString(body)
    except Exception as error:  # protobuf's DecodeError, and whatever else it makes of it
        raise Refusal(
            400, f"The message: expected a ModelInferRequest, got bytes that aren't: {error}."
        ) from None


def query_of(request: Any, model: Description, size: int) -> tuple[Query, bool]:
    """The query, and whether its tensors came raw. Raises `Refusal` (400)."""
    inputs = request.inputs
    raw = request.raw_input_contents
    if raw:
        if len(raw) != len(inputs):
            raise Refusal(
                400,
                f"raw_input_contents: expected {len(inputs)} (one for each input), got {len(raw)}.",
            )
        given = [_raw(tensor, data) for tensor, data in zip(inputs, raw, strict=True)]
    else:
        given = [_typed(tensor) for tensor in inputs]
    query = read(given, model, size)
    query.id = request.id or None
    if request.outputs:
        query.outputs = _asked(request.outputs, model)
    return query, bool(raw)


def _asked(outputs: Any, model: Description) -> tuple[str, ...] | None:
    for output in outputs:
        parameters = parameters_of(output.parameters)
        if parameters.get("classification"):
            raise Refusal(
                400,
                f"Output {shown(output.name)}: expected no classification (ask for the whole "
                f"tensor), got {shown(parameters['classification'])}.",
            )
        if "shared_memory_region" in parameters:
            raise Refusal(
                400, f"Output {shown(output.name)}: expected none, got a shared memory region."
            )
    return asked([output.name for output in outputs], model)


def parameters_of(given: Any) -> dict[str, Any]:
    """`InferParameter`s as plain values."""
    found: dict[str, Any] = {}
    for name in given:
        kind = given[name].WhichOneof("parameter_choice")
        found[name] = None if kind is None else getattr(given[name], kind)
    return found


def _raw(tensor: Any, data: bytes) -> Given:
    name, datatype, shape = _checked(tensor)
    # MLServer's converter sends contents that are there and hold nothing.
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise Refusal(
            400, f"Tensor {shown(name)}: expected contents or raw_input_contents, got both."
        )
    return Given(name, shape, datatype, unpack(data, name, datatype, shape))


def _checked(tensor: Any) -> tuple[str, str, list[int]]:
    name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    check(name, shape, datatype)
    if tensor.parameters and "shared_memory_region" in tensor.parameters:
        raise Refusal(400, f"Tensor {shown(name)}: expected data, got a shared memory region.")
    return name, datatype, shape


def _typed(tensor: Any) -> Given:
    name, datatype, shape = _checked(tensor)
    field = _FIELD.get(datatype)
    if field is None:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {datatype} as raw_input_contents, "
            "for which alone the protocol has room, got none.",
        )
    values = getattr(tensor.contents, field)
    if len(values) != math.prod(shape):
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {math.prod(shape)} values in {field} for shape "
            f"{shape}, got {len(values)}{_elsewhere(tensor.contents, field)}.",
        )
    return Given(name, shape, datatype, _array(tensor.contents, values, datatype, name))


def _elsewhere(contents: Any, field: str) -> str:
    others = [d.name for d, _ in contents.ListFields() if d.name != field]
    return f" (and some in {', '.join(others)})" if others else ""


def _array(contents: Any, values: Any, datatype: str, name: str) -> Array:
    if datatype == "BYTES":
        return texts([text_of(value) for value in values])
    if datatype in _PACKED and len(values) > _FEW:
        packed = _packed(contents, datatype, len(values))
        if packed is not None:
            return packed
    if datatype in RANGE and datatype[-1] in "68":  # 8 and 16 bits in a field of 32
        low, high = RANGE[datatype]
        for i, value in enumerate(values):
            if not low <= value <= high:
                raise Refusal(
                    400,
                    f"Tensor {shown(name)}, value {i}: expected a whole number from {low} to "
                    f"{high} ({datatype}), got {value}.",
                )
    return np.array(values, dtype=DTYPE[datatype])


def _packed(contents: Any, datatype: str, count: int) -> Array | None:
    """The array's bytes as they lie in the serialized message; None when it holds more."""
    wire = WIRE[datatype]
    data = contents.SerializeToString()
    head = _PACKED[datatype] + _varint(count * wire.itemsize)
    if len(data) != len(head) + count * wire.itemsize or not data.startswith(head):
        return None
    return np.frombuffer(data, wire, offset=len(head))


def _varint(value: int) -> bytes:
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def outputs_of(response: Any) -> dict[str, Any]:
    """The outputs of a `ModelInferResponse` as plain values: shape and data by name; what
    came raw as numbers, but BYTES as they are."""
    raw = response.raw_output_contents
    found: dict[str, Any] = {}
    for place, tensor in enumerate(response.outputs):
        datatype = tensor.datatype
        if not raw:
            data: Any = list(getattr(tensor.contents, _FIELD[datatype]))
        elif datatype in WIRE:
            data = np.frombuffer(raw[place], WIRE[datatype]).tolist()
        else:
            data = raw[place]
        found[tensor.name] = {"shape": list(tensor.shape), "data": data}
    return found


class Shaper:
    """Answers of one model version to `ModelInferResponse`s."""

    def __init__(self, name: str, version: str, model: Description) -> None:
        self._name = name
        self._version = version
        self._outputs = model.outputs
        self._places = {output.name: i for i, output in enumerate(model.outputs)}
        self._described = [_described(output) for output in model.outputs]

    def response(self, query: Query, answer: Answer, *, raw: bool) -> Any:
        """The response, its tensors raw or typed."""
        response = ModelInferResponse(model_name=self._name, model_version=self._version)
        if query.id is not None:
            response.id = query.id
        wanted = query.outputs or self._places
        places = [self._places[name] for name in wanted]
        raw = raw or any(self._outputs[i].datatype not in _FIELD for i in places)
        for i in places:
            output, array = self._outputs[i], answer.outputs[i]
            tensor = response.outputs.add()
            tensor.CopyFrom(self._described[i])
            tensor.shape.extend(array.shape)
            if raw:
                response.raw_output_contents.append(pack(array, output.datatype))
            else:
                _fill(tensor.contents, array, output.datatype)
        return response


def _described(output: Output) -> Any:
    tensor = ModelInferResponse.InferOutputTensor(name=output.name, datatype=output.datatype)
    set_parameters(tensor.parameters, output.parameters)
    return tensor


def set_parameters(target: Any, parameters: Mapping[str, Any]) -> None:
    """Plain values as `InferParameter`s; what has no type of theirs goes as JSON."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            target[name].string_param = (
                value if isinstance(value, str) else orjson.dumps(value).decode()
            )


def _fill(contents: Any, array: Array, datatype: str) -> None:
    if datatype in _PACKED and array.size > _FEW:
        data = np.ascontiguousarray(array, WIRE[datatype]).tobytes()
        contents.MergeFromString(_PACKED[datatype] + _varint(len(data)) + data)
        return
    values = of_one_type(array, datatype).ravel().tolist()
    if datatype == "BYTES":
        values = [v if isinstance(v, bytes) else str(v).encode(errors="replace") for v in values]
    getattr(contents, _FIELD[datatype]).extend(values)
