"""Open Inference Protocol V2 over REST: a body to a query.

The protocol: https://github.com/kserve/open-inference-protocol. Whatever a client sends,
`parse` answers a `Query` or raises `Refusal` with a 4xx status. `query` is the same for
tensors that came on another wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from volant.serving.binary import text_of, unpack
from volant.serving.datatypes import WIRE, texts
from volant.serving.description import Description
from volant.serving.given import Frame, of_json
from volant.serving.query import Given, Query
from volant.serving.quick import usual
from volant.serving.refusal import Refusal, nearest, shown
from volant.serving.tabular import table_feeds
from volant.serving.tensors import batch_key, tensor_feeds


def parse(body: bytes, model: Description, json_length: int | None = None) -> Query:
    """Check `body` against the model's signature; raises `Refusal` (400). `json_length`
    is where binary tensors begin, None when there are none."""
    if json_length == 0:
        return _raw(body, model)
    try:
        request = orjson.loads(body if json_length is None else memoryview(body)[:json_length])
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body isn't JSON: {error}. Expected an object.") from None
    if type(request) is not dict:
        raise Refusal(400, f"The body: expected a JSON object, got {shown(request)}.")
    inputs = request.get("inputs")
    if type(inputs) is not list or not inputs:
        raise Refusal(400, f'"inputs": expected a list of tensors, got {shown(inputs)}.')
    if json_length is None:
        found = usual(inputs, model)
        if found is not None:
            query = Query(*found, size=len(body))
        else:
            query = read([of_json(tensor, None) for tensor in inputs], model, len(body))
    else:
        frame = Frame(memoryview(body)[json_length:])
        given = [of_json(tensor, frame) for tensor in inputs]
        frame.end()
        query = read(given, model, len(body))
    if len(request) > 1:
        _envelope(request, query, model)
    return query


def read(given: Sequence[Given], model: Description, size: int) -> Query:
    """The query of tensors, whatever wire they came on; `size` is the request's bytes.
    Raises `Refusal` (400)."""
    if not given:
        raise Refusal(400, "Expected input tensors, got none.")
    if model.inputs:
        rows, feeds = tensor_feeds(given, model)
        return Query(rows, feeds, size=size, batch_key=batch_key(feeds, model))
    rows, feeds = table_feeds(given, model)
    return Query(rows, feeds, size=size)


def asked(names: Iterable[str], model: Description) -> tuple[str, ...] | None:
    """Requested outputs in their order; None for all of them. Raises `Refusal` (400)."""
    known = [output.name for output in model.outputs]
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise Refusal(
                400,
                f'"outputs": expected some of {", ".join(known)}, got {shown(name)}.'
                + nearest(name, known),
            )
    return wanted or None


def _envelope(request: Mapping[str, Any], query: Query, model: Description) -> None:
    query.id = _optional(request, "id", str, "a string")
    parameters = _optional(request, "parameters", dict, "an object")
    outputs = _optional(request, "outputs", list, "a list")
    binary = _flag(parameters or {}, "binary_data_output", '"parameters"')
    if outputs:
        wanted: dict[str, bool | None] = {}
        for output in outputs:
            name = output.get("name") if type(output) is dict else None
            if type(name) is not str:
                raise Refusal(400, f'"outputs": expected objects with a name, got {shown(output)}.')
            own = _optional(output, "parameters", dict, "an object") or {}
            if own.get("classification"):
                raise Refusal(
                    400,
                    f"Output {shown(name)}: expected no classification (ask for the whole "
                    f"tensor), got {shown(own['classification'])}.",
                )
            wanted[name] = _flag(own, "binary_data", f"Output {shown(name)}")
        query.outputs = asked(wanted, model)
        query.binary_outputs = frozenset(
            name for name, own in wanted.items() if (binary if own is None else own)
        )
    elif binary:
        query.binary_outputs = frozenset(output.name for output in model.outputs)


def _optional(request: Mapping[str, Any], key: str, kind: type, words: str) -> Any:
    value = request.get(key)
    if value is not None and type(value) is not kind:
        raise Refusal(400, f'"{key}": expected {words}, got {shown(value)}.')
    return value


def _flag(parameters: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and type(value) is not bool:
        raise Refusal(400, f"{where}: expected {key} as true or false, got {shown(value)}.")
    return value


def _raw(body: bytes, model: Description) -> Query:
    """A body without any JSON: the only input's data, as Triton takes it. One size of its
    shape may be open; BYTES are a single element."""
    if len(model.inputs) != 1:
        raise Refusal(
            400,
            "Inference-Header-Content-Length: expected the length of the JSON part (a body of "
            "nothing but data is for models with one input tensor), got 0.",
        )
    wanted = model.inputs[0]
    shape = list(wanted.shape)
    if wanted.datatype == "BYTES":
        shape, data = [1 if s < 0 else s for s in shape], texts([text_of(body)])
        if math.prod(shape) != 1:
            raise Refusal(
                400,
                f"Tensor {shown(wanted.name)}: expected {math.prod(shape)} BYTES elements, got 1.",
            )
    else:
        if -1 in shape:
            fixed = math.prod(s for s in shape if s >= 0) * WIRE[wanted.datatype].itemsize
            shape[shape.index(-1)] = len(body) // fixed if fixed else 0
            shape = [1 if s < 0 else s for s in shape]
        data = unpack(body, wanted.name, wanted.datatype, shape)
    return read([Given(wanted.name, shape, wanted.datatype, data)], model, len(body))
