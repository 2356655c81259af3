"""One input tensor as it comes, in JSON or behind it, checked for itself alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

from volant.serving.binary import text_of, unpack
from volant.serving.datatypes import DATATYPES, Array
from volant.serving.query import Given
from volant.serving.refusal import Refusal, shown

_MOST_EMPTY = 65_536  # a size beside a 0: nothing else bounds it


class Frame:
    """The binary part of a body, read tensor by tensor."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, name: str, size: Any) -> memoryview:
        """The next `size` bytes. Raises `Refusal` (400)."""
        if type(size) is not int or size < 0:
            raise Refusal(
                400,
                f"Tensor {shown(name)}: expected binary_data_size as a whole number, "
                f"got {shown(size)}.",
            )
        left = len(self._data) - self._at
        if size > left:
            raise Refusal(
                400,
                f"Tensor {shown(name)}: expected {size} bytes behind the JSON part, as "
                f"binary_data_size says, got {left}.",
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def end(self) -> None:
        """Nothing may be left. Raises `Refusal` (400)."""
        if self._at != len(self._data):
            raise Refusal(
                400,
                f"The body: expected {self._at} bytes behind the JSON part (the sum of "
                f"binary_data_size), got {len(self._data)}.",
            )


def of_json(tensor: Any, frame: Frame | None) -> Given:
    """A tensor of the request's `inputs`; `frame` is None without binary data. Raises
    `Refusal` (400)."""
    if type(tensor) is not dict:
        raise Refusal(400, f'"inputs": expected tensors (objects), got {shown(tensor)}.')
    tensor = cast("dict[str, Any]", tensor)
    name: Any = tensor.get("name")
    shape: Any = tensor.get("shape")
    datatype: Any = tensor.get("datatype")
    parameters: Any = tensor.get("parameters")
    check(name, shape, datatype)
    if parameters is not None and type(parameters) is not dict:
        raise Refusal(
            400, f"Tensor {shown(name)}: expected parameters as an object, got {shown(parameters)}."
        )
    given = Given(name, shape, datatype, [], parameters)
    if parameters and "shared_memory_region" in parameters:
        raise Refusal(400, f"Tensor {shown(name)}: expected data, got a shared memory region.")
    if parameters and "binary_data_size" in parameters:
        given.data = _binary(tensor, given, frame)
        return given
    data = _listed(tensor.get("data"), name, shape)
    if parameters and datatype == "BYTES" and parameters.get("content_type") == "base64":
        data = [None if value is None else decoded(value, name) for value in data]
    given.data = data
    return given


def check(name: Any, shape: Any, datatype: Any) -> None:
    """Raises `Refusal` (400) unless they are a tensor's name, shape and datatype."""
    if type(name) is not str:
        raise Refusal(400, f"A tensor's name: expected a string, got {shown(name)}.")
    if type(datatype) is not str or datatype not in DATATYPES:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected a datatype of {', '.join(DATATYPES)}, "
            f"got {shown(datatype)}.",
        )
    if type(shape) is not list or any(type(s) is not int or s < 0 for s in shape):
        raise Refusal(
            400, f"Tensor {shown(name)}: expected a shape of whole numbers, got {dims(shape)}."
        )
    if 0 in shape and max(shape) > _MOST_EMPTY:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected at most {_MOST_EMPTY} in the shape of an empty "
            f"tensor, got {dims(shape)}.",
        )


def _binary(tensor: Mapping[str, Any], given: Given, frame: Frame | None) -> Array:
    name = given.name
    if frame is None:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected the header Inference-Header-Content-Length with "
            "binary_data_size, got none.",
        )
    if "data" in tensor:
        raise Refusal(400, f"Tensor {shown(name)}: expected data or binary_data_size, got both.")
    size = given.parameters["binary_data_size"] if given.parameters else None
    return unpack(frame.take(name, size), name, given.datatype, given.shape)


def _listed(data: Any, name: str, shape: list[int]) -> list[Any]:
    """The values, flat. They come flat, or nested as the shape is."""
    if type(data) is not list:
        raise Refusal(400, f"Tensor {shown(name)}: expected data as a list, got {shown(data)}.")
    if len(shape) > 1 and data and type(data[0]) is list:
        data = _flat(data, name, shape)
    size = math.prod(shape)
    if size != len(data):
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {size} values for shape {dims(shape)}, "
            f"got {len(data)}.",
        )
    return data


def _flat(data: list[Any], name: str, shape: list[int]) -> list[Any]:
    if len(data) != shape[0]:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected data nested as its shape {dims(shape)}, "
            f"got {len(data)} lists.",
        )
    for size in shape[1:]:
        if set(map(type, data)) != {list} or set(map(len, data)) != {size}:
            i = next(i for i, row in enumerate(data) if type(row) is not list or len(row) != size)
            raise Refusal(
                400,
                f"Tensor {shown(name)}, row {i}: expected a list of {size} values, "
                f"got {shown(data[i])}.",
            )
        data = list(chain.from_iterable(data))
    return data


def decoded(value: Any, name: str) -> str | bytes:
    """A base64 text as what it stands for. Raises `Refusal` (400)."""
    try:
        if type(value) is str:
            return text_of(base64.b64decode(value, validate=True))
    except ValueError:  # also what is no ASCII
        pass
    raise Refusal(400, f"Tensor {shown(name)}: expected base64, got {shown(value)}.")


def dims(shape: Any) -> str:
    """A shape as messages show it."""
    return shown(str(shape)) if type(shape) is list else shown(shape)
