"""Protocol V1, for old clients: `instances` are rows, `inputs` are columns.

As KServe and TensorFlow Serving have it: a row is a list in the signature's order, an
object by column, or (with one input) the value itself; a model that takes tensors gets
one of each input an instance. `{"b64": …}` stands for bytes. The answer to a classifier
is its classes, as KServe's model servers give them; the signature `predict_proba` asks
for their probabilities instead.
https://www.tensorflow.org/tfx/serving/api_rest, https://kserve.github.io/website
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import orjson

from volant.serving.binary import of_one_type
from volant.serving.datatypes import Array
from volant.serving.description import OIP_TYPE, Description
from volant.serving.given import decoded
from volant.serving.oip import read
from volant.serving.query import Answer, Given, Query
from volant.serving.refusal import Refusal, nearest, shown

_DUMP = orjson.OPT_SERIALIZE_NUMPY
_SIGNATURES = (None, "serving_default", "predict", "predict_proba")
_DEEPEST = 32  # dimensions


def parse(body: bytes, model: Description) -> tuple[Query, bool]:
    """The query, and whether it came as `inputs`. Raises `Refusal` (400)."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body isn't JSON: {error}. Expected an object.") from None
    if type(request) is not dict:
        raise Refusal(400, f"The body: expected a JSON object, got {shown(request)}.")
    keys = [key for key in ("instances", "inputs") if key in request]
    if len(keys) != 1:
        raise Refusal(400, f'Expected "instances" or "inputs", got {len(keys)} of them.')
    columnar = keys == ["inputs"]
    value = request[keys[0]]
    if columnar and type(value) is dict:
        given = [_tensor(name, data, model) for name, data in value.items()]
    else:
        if type(value) is not list or not value:
            words = "a list of rows" + (" or an object of columns" if columnar else "")
            raise Refusal(400, f'"{keys[0]}": expected {words}, got {shown(value)}.')
        given = _rows(value, model)
    query = read(given, model, len(body))
    query.outputs = _outputs(request.get("signature_name"), model)
    return query, columnar


def _outputs(signature: Any, model: Description) -> tuple[str, ...] | None:
    if not isinstance(signature, str | None) or signature not in _SIGNATURES:
        raise Refusal(
            400,
            f'"signature_name": expected {", ".join(s for s in _SIGNATURES if s)} or none, '
            f"got {shown(signature)}.",
        )
    names = [output.name for output in model.outputs]
    if signature != "predict_proba":
        return ("prediction",) if "prediction" in names and model.columns else None
    if "probabilities" not in names:
        raise Refusal(
            400, '"signature_name": expected one of a model without probabilities, got this one.'
        )
    return ("probabilities",)


# instances


def _rows(rows: list[Any], model: Description) -> list[Given]:
    names = _names(model)
    if all(type(row) is dict and "b64" not in row for row in rows):
        return _by_name(rows, names, model)
    if model.inputs or (len(names) == 1 and type(rows[0]) is not list):
        if len(names) != 1:
            raise Refusal(
                400,
                f'"instances": expected objects with the inputs {_some(names)}, '
                f"got {shown(rows[0])}.",
            )
        return [_tensor(names[0], rows, model)]
    for i, row in enumerate(rows):
        if type(row) is not list or len(row) != len(names):
            raise Refusal(
                400,
                f'"instances", row {i}: expected a list of {len(names)} values ({_some(names)}) '
                f"or an object by column, got {shown(row)}.",
            )
    columns = zip(*rows, strict=True)
    return [_tensor(name, list(values), model) for name, values in zip(names, columns, strict=True)]


def _by_name(rows: list[dict[str, Any]], names: Sequence[str], model: Description) -> list[Given]:
    nullable = {column.name for column in model.columns if column.nullable}
    known = frozenset(names)
    for i, row in enumerate(rows):
        for name in row:
            if name not in known:
                raise Refusal(
                    400,
                    f'"instances", row {i}: expected {_some(names)}, got {shown(name)}.'
                    + nearest(name, names),
                )
        missing = [name for name in names if name not in row and name not in nullable]
        if missing:
            raise Refusal(
                400,
                f'"instances", row {i}: expected {_some(names)}, missing {_some(missing)}.',
            )
    return [_tensor(name, [row.get(name) for row in rows], model) for name in names]


def _tensor(name: str, data: Any, model: Description) -> Given:
    """Values of one column or input, with the datatype of the signature, and the shape
    that they are nested in."""
    datatype = _datatypes(model).get(name)
    if datatype is None:
        names = _names(model)
        raise Refusal(400, f"Expected {_some(names)}, got {shown(name)}.{nearest(name, names)}")
    shape, flat = _nested(data, name)
    if datatype == "BYTES":
        flat = [_bytes(value, name) for value in flat]
    return Given(name, shape, datatype, flat)


def _nested(data: Any, name: str) -> tuple[list[int], list[Any]]:
    if type(data) is not list:
        raise Refusal(400, f"Input {shown(name)}: expected a list, got {shown(data)}.")
    level = cast("list[Any]", data)
    shape = [len(level)]
    while level and type(level[0]) is list:
        size = len(level[0])
        for i, inner in enumerate(level):
            if type(inner) is not list or len(inner) != size:
                raise Refusal(
                    400,
                    f"Input {shown(name)}: expected lists of {size} values throughout, got "
                    f"{shown(inner)} at {i}.",
                )
        shape.append(size)
        if len(shape) > _DEEPEST:
            raise Refusal(400, f"Input {shown(name)}: expected at most {_DEEPEST} levels of lists.")
        level = [value for inner in level for value in inner]
    return shape, level


def _bytes(value: Any, name: str) -> Any:
    if type(value) is dict and list(value) == ["b64"]:
        return decoded(value["b64"], name)
    return value


def _names(model: Description) -> list[str]:
    return [t.name for t in model.inputs] or [c.name for c in model.columns]


def _datatypes(model: Description) -> Mapping[str, str]:
    if model.inputs:
        return {tensor.name: tensor.datatype for tensor in model.inputs}
    return {column.name: OIP_TYPE[column.type] for column in model.columns}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


# predictions


def body(query: Query, answer: Answer, model: Description, *, columnar: bool) -> bytes:
    """`predictions`, a value an instance, or an object of them when several outputs are
    due; beside them `outputs` as TensorFlow Serving answers `inputs`."""
    chosen = {
        output.name: _values(array, output.datatype)
        for output, array in zip(model.outputs, answer.outputs, strict=True)
        if query.outputs is None or output.name in query.outputs
    }
    predictions: Any
    if len(chosen) == 1:
        (predictions,) = chosen.values()
    elif not model.batchable:
        predictions = [chosen]
    else:
        predictions = [
            dict(zip(chosen, row, strict=True)) for row in zip(*chosen.values(), strict=True)
        ]
    said: dict[str, Any] = {"predictions": predictions}
    if columnar:
        said["outputs"] = chosen if len(chosen) > 1 else predictions
    return orjson.dumps(said, option=_DUMP, default=_b64)


def _values(array: Array, datatype: str) -> Any:
    """What orjson writes as nested lists."""
    values = of_one_type(array, datatype)
    return values.tolist() if values.dtype == object else np.ascontiguousarray(values)


def _b64(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} isn't JSON")
