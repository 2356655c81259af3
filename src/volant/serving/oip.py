"""Open Inference Protocol V2 (REST, JSON): a body to arrays, arrays to a body.

The protocol: https://github.com/kserve/open-inference-protocol. Columns come either as
one tensor each, matched by name, or as a single two-dimensional tensor in the
signature's order. Whatever a client sends, `parse` answers a `Query` or raises
`Refusal` with a 4xx status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from volant.domain.model import Field
from volant.serving.columns import DATATYPES, as_array, plain_numbers
from volant.serving.description import Description, Tensor
from volant.serving.quick import usual
from volant.serving.refusal import Refusal, nearest, shown

Array = np.ndarray[Any, np.dtype[Any]]

_DUMP = orjson.OPT_SERIALIZE_NUMPY
OIP_TYPE = {
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "string": "BYTES",
    "timestamp": "BYTES",
}


@dataclass(slots=True)
class Query:
    """One checked request: `feeds` are arrays [rows, columns] aligned to the model's
    tensors. `outputs` is None for all of them."""

    rows: int
    feeds: tuple[Array, ...]
    id: str | None = None
    outputs: frozenset[str] | None = None


@dataclass(slots=True)
class Answer:
    """Predictions of one request: `labels` [n]; `probabilities` [n, classes] or None."""

    labels: Array
    probabilities: Array | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """One tensor as it came, its data flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


def parse(body: bytes, model: Description) -> Query:
    """Check `body` against the model's signature; raises `Refusal` (400)."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body isn't JSON: {error}. Expected an object.") from None
    if type(request) is not dict:
        raise Refusal(400, f"The body: expected a JSON object, got {shown(request)}.")
    inputs = request.get("inputs")
    if type(inputs) is not list or not inputs:
        raise Refusal(400, f'"inputs": expected a list of tensors, got {shown(inputs)}.')
    rows, feeds = usual(inputs, model) or _feeds(inputs, model)
    query = Query(rows, feeds)
    if len(request) > 1:
        _envelope(request, query, model)
    return query


def _envelope(request: Mapping[str, Any], query: Query, model: Description) -> None:
    query.id = _optional(request, "id", str, "a string")
    _optional(request, "parameters", dict, "an object")
    outputs = _optional(request, "outputs", list, "a list")
    if outputs is None:
        return
    known = output_names(model)
    names: set[str] = set()
    for output in outputs:
        name = output.get("name") if type(output) is dict else None
        if type(name) is not str:
            raise Refusal(400, f'"outputs": expected objects with a name, got {shown(output)}.')
        if name not in known:
            raise Refusal(
                400,
                f'"outputs": expected some of {", ".join(known)}, got {shown(name)}.'
                + nearest(name, known),
            )
        names.add(name)
    query.outputs = frozenset(names) or None


def _optional(request: Mapping[str, Any], key: str, kind: type, words: str) -> Any:
    value = request.get(key)
    if value is not None and type(value) is not kind:
        raise Refusal(400, f'"{key}": expected {words}, got {shown(value)}.')
    return value


def _feeds(inputs: list[Any], model: Description) -> tuple[int, tuple[Array, ...]]:
    columns = model.columns
    if len(inputs) == 1:
        given = _tensor(inputs[0])
        if all(given.name != c.name for c in columns):
            return _matrix(given, model)
        return _by_name([given], model)
    return _by_name([_tensor(tensor) for tensor in inputs], model)


def _tensor(tensor: Any) -> _Given:
    if type(tensor) is not dict:
        raise Refusal(400, f'"inputs": expected tensors (objects), got {shown(tensor)}.')
    name, shape = tensor.get("name"), tensor.get("shape")
    datatype, data = tensor.get("datatype"), tensor.get("data")
    if type(name) is not str:
        raise Refusal(400, f"A tensor's name: expected a string, got {shown(name)}.")
    if type(datatype) is not str or datatype not in DATATYPES:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected a datatype of {', '.join(DATATYPES)}, "
            f"got {shown(datatype)}.",
        )
    if type(shape) is not list or not shape or any(type(s) is not int or s < 0 for s in shape):
        raise Refusal(
            400, f"Tensor {shown(name)}: expected a shape of whole numbers, got {_dims(shape)}."
        )
    if type(data) is not list:
        raise Refusal(400, f"Tensor {shown(name)}: expected data as a list, got {shown(data)}.")
    if data and type(data[0]) is list:
        data = _flatten(data, name, shape)
    size = 1
    for s in shape:
        size *= s
    if size != len(data):
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {size} values for shape {_dims(shape)}, "
            f"got {len(data)}.",
        )
    return _Given(name, shape, datatype, data)


def _dims(shape: Any) -> str:
    return shown(str(shape)) if type(shape) is list else shown(shape)


def _flatten(data: list[Any], name: str, shape: list[int]) -> list[Any]:
    """Row-major values of nested lists; two levels are all that a table has."""
    if len(shape) != 2 or len(data) != shape[0]:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected data nested as its shape {_dims(shape)}, "
            f"got {len(data)} lists.",
        )
    flat: list[Any] = []
    for i, row in enumerate(data):
        if type(row) is not list or len(row) != shape[1]:
            raise Refusal(
                400,
                f"Tensor {shown(name)}, row {i}: expected a list of {shape[1]} values, "
                f"got {shown(row)}.",
            )
        flat.extend(row)
    return flat


def _matrix(given: _Given, model: Description) -> tuple[int, tuple[Array, ...]]:
    columns = model.columns
    width = len(columns)
    shape = given.shape
    if len(shape) != 2 or shape[1] != width:
        raise Refusal(
            400,
            f"Tensor {shown(given.name)}: expected shape [n, {width}] (the columns "
            f"{_names(columns)} in this order) or one tensor for each column, "
            f"got shape {_dims(shape)}.",
        )
    rows = _rows(shape[0])
    tensor = model.tensors[0] if len(model.tensors) == 1 else None
    if tensor is not None and tensor.columns == tuple(range(width)):
        kinds = {c.type for c in columns}
        if kinds == {"number"}:
            plain = plain_numbers(given.data, (given.datatype,), False, tensor.dtype)
            if plain is not None:
                return rows, (plain.reshape(rows, width),)
    values = [(given.datatype, given.data[i::width]) for i in range(width)]
    return rows, _arrays(values, rows, model)


def _by_name(given: list[_Given], model: Description) -> tuple[int, tuple[Array, ...]]:
    known = {column.name: i for i, column in enumerate(model.columns)}
    found: list[tuple[str, list[Any]] | None] = [None] * len(known)
    rows = _rows(given[0].shape[0])
    for tensor in given:
        i = known.get(tensor.name)
        if i is None:
            raise Refusal(
                400,
                f"Tensor {shown(tensor.name)}: expected one of the columns "
                f"{_names(model.columns)}.{nearest(tensor.name, known)}",
            )
        if found[i] is not None:
            raise Refusal(400, f"Tensor {shown(tensor.name)}: expected once, got twice.")
        shape = tensor.shape
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or shape[0] != rows:
            raise Refusal(
                400,
                f"Tensor {shown(tensor.name)}: expected shape [{rows}] or [{rows}, 1], "
                f"got {_dims(shape)}.",
            )
        found[i] = (tensor.datatype, tensor.data)
    return rows, _arrays(_completed(found, rows, model), rows, model)


def _completed(
    found: list[tuple[str, list[Any]] | None], rows: int, model: Description
) -> list[tuple[str, list[Any]]]:
    """Columns that weren't sent are all null, where null is allowed."""
    complete: list[tuple[str, list[Any]]] = []
    missing: list[str] = []
    for column, one in zip(model.columns, found, strict=True):
        if one is None and not column.nullable:
            missing.append(column.name)
        complete.append(one or (OIP_TYPE[column.type], [None] * rows))
    if missing:
        got = [c.name for c, one in zip(model.columns, found, strict=True) if one is not None]
        raise Refusal(
            400,
            f"Expected the columns {_names(model.columns)}, got {len(got)} of them: "
            f"missing {', '.join(missing[:20])}.",
        )
    return complete


def _arrays(
    values: list[tuple[str, list[Any]]], rows: int, model: Description
) -> tuple[Array, ...]:
    feeds = tuple(_feed(tensor, values, rows, model) for tensor in model.tensors)
    if sum(len(tensor.columns) for tensor in model.tensors) < len(values):
        # A column that the model learned nothing from is checked all the same.
        used = {i for tensor in model.tensors for i in tensor.columns}
        for i, column in enumerate(model.columns):
            if i not in used:
                as_array(values[i][1], values[i][0], column, "text")
    return feeds


def _feed(
    tensor: Tensor, values: list[tuple[str, list[Any]]], rows: int, model: Description
) -> Array:
    plain = _plain(tensor, values, rows, model)
    if plain is not None:
        return plain
    parts = [
        as_array(values[i][1], values[i][0], model.columns[i], tensor.dtype) for i in tensor.columns
    ]
    return parts[0].reshape(rows, 1) if len(parts) == 1 else np.stack(parts, axis=1)


def _plain(
    tensor: Tensor, values: list[tuple[str, list[Any]]], rows: int, model: Description
) -> Array | None:
    """All columns of a tensor at once, where they are nothing but numbers."""
    kinds = {model.columns[i].type for i in tensor.columns}
    if not kinds <= {"number", "integer"}:
        return None
    chosen = [values[i] for i in tensor.columns]
    if len(kinds) == 2:
        for i, (_, data) in zip(tensor.columns, chosen, strict=True):
            if model.columns[i].type == "integer" and set(map(type, data)) != {int}:
                return None
    flat = [value for _, data in chosen for value in data]
    array = plain_numbers(flat, {d for d, _ in chosen}, kinds == {"integer"}, tensor.dtype)
    return None if array is None else np.ascontiguousarray(array.reshape(len(chosen), rows).T)


def _rows(n: int) -> int:
    if n < 1:
        raise Refusal(400, "Expected at least one row, got none.")
    return n


def _names(columns: Sequence[Field]) -> str:
    names = [c.name for c in columns[:12]]
    return ", ".join(names) + (", …" if len(columns) > 12 else "")


def output_names(model: Description) -> tuple[str, ...]:
    """`prediction`, and `probabilities` when the model has them."""
    return ("prediction",) if model.probabilities is None else ("prediction", "probabilities")


def label_type(model: Description) -> str:
    """The datatype of `prediction`."""
    if model.prediction == "number" and model.classes is None and model.kind == "onnx":
        return "FP32"
    return OIP_TYPE[model.prediction]


def metadata(name: str, version: str, model: Description) -> dict[str, Any]:
    """The model metadata answer: real columns, types and shapes (-1 is any number of
    rows); nullability and classes in `parameters`."""
    outputs: list[dict[str, Any]] = [
        {"name": "prediction", "datatype": label_type(model), "shape": [-1]}
    ]
    if "probabilities" in output_names(model):
        classes = list(model.classes or ())
        outputs.append(
            {
                "name": "probabilities",
                "datatype": "FP32" if model.kind == "onnx" else "FP64",
                "shape": [-1, len(classes)],
                "parameters": {"classes": classes},
            }
        )
    return {
        "name": name,
        "versions": [version],
        "platform": "onnxruntime" if model.kind == "onnx" else "scikit-learn",
        "inputs": [
            {
                "name": c.name,
                "datatype": OIP_TYPE[c.type],
                "shape": [-1],
                "parameters": {"type": c.type, "nullable": c.nullable},
            }
            for c in model.columns
        ],
        "outputs": outputs,
    }


class Formatter:
    """Answers to bytes, with all that is the same in every answer made once."""

    def __init__(self, name: str, version: str, model: Description) -> None:
        self._head = b'{"model_name":%s,"model_version":%s,' % (
            orjson.dumps(name),
            orjson.dumps(version),
        )
        self._label = label_type(model)
        self._classes = {"classes": list(model.classes or ())}
        self._probability = "FP32" if model.kind == "onnx" else "FP64"

    def body(self, query: Query, answer: Answer) -> bytes:
        """The response body; NaN becomes null."""
        wanted = query.outputs
        outputs: list[dict[str, Any]] = []
        labels = answer.labels
        if wanted is None or "prediction" in wanted:
            data = labels.tolist() if labels.dtype == object else np.ascontiguousarray(labels)
            outputs.append(
                {
                    "name": "prediction",
                    "datatype": self._label,
                    "shape": [len(labels)],
                    "data": data,
                }
            )
        probabilities = answer.probabilities
        if probabilities is not None and (wanted is None or "probabilities" in wanted):
            outputs.append(
                {
                    "name": "probabilities",
                    "datatype": self._probability,
                    "shape": list(probabilities.shape),
                    "parameters": self._classes,
                    "data": np.ascontiguousarray(probabilities).reshape(-1),
                }
            )
        head = self._head
        if query.id is not None:
            head += b'"id":%s,' % orjson.dumps(query.id)
        return b'%s"outputs":%s}' % (head, orjson.dumps(outputs, option=_DUMP))
