"""What a model folder says of its model (`volant.json`), as frozen facts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.errors import InvalidInput

_TEXT = frozenset({ColumnType.STRING, ColumnType.TIMESTAMP})

Class = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of the runtime: which columns of the signature it holds (by index, in
    order) and its element type: `float32`, `float64`, `string` (a missing one is "") or
    `text` (a missing one is None)."""

    name: str
    columns: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of a model whose columns are all numbers, in order, in one tensor: each column's
    position by its name, those that hold whole numbers, and the tensor's element type
    with its largest value."""

    positions: Mapping[str, int]
    whole: tuple[int, ...]
    dtype: str
    largest: float


# IEEE 754: the largest finite binary32 and binary64.
_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


@dataclass(frozen=True, slots=True)
class Description:
    """A model as a replica needs it. `label` and `probabilities` name the runtime's
    outputs, and the second is None when there are none; `prediction` is the
    `ColumnType` of the answer; `kind` is `onnx` or `native`; `file` lies in the
    model's folder."""

    task: str
    columns: tuple[Field, ...]
    classes: tuple[Class, ...] | None
    kind: str
    file: str
    tensors: tuple[Tensor, ...]
    label: str = ""
    probabilities: str | None = None
    prediction: str = "number"
    numbers: Numbers | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", _numbers(self.columns, self.tensors))


def _numbers(columns: tuple[Field, ...], tensors: tuple[Tensor, ...]) -> Numbers | None:
    tensor = tensors[0] if len(tensors) == 1 else None
    if tensor is None or tensor.columns != tuple(range(len(columns))):
        return None
    if tensor.dtype not in _LARGEST or {c.type for c in columns} - {"number", "integer"}:
        return None
    return Numbers(
        {column.name: i for i, column in enumerate(columns)},
        tuple(i for i, column in enumerate(columns) if column.type == "integer"),
        tensor.dtype,
        _LARGEST[tensor.dtype],
    )


def read_description(body: Mapping[str, Any]) -> Description:
    """Parse the content of `volant.json`; raises `InvalidInput` when it isn't one."""
    try:
        return _read(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"The model's volant.json can't be used: {type(error).__name__}: {error}.",
            "Train and register the model again; the file is written by Volant.",
            code="model_description",
        ) from error


def _read(body: Mapping[str, Any]) -> Description:
    if body["format"] != 1:
        raise ValueError(f"format {body['format']!r} isn't 1")
    signature = body["signature"]
    columns = tuple(
        Field(str(c["name"]), str(ColumnType(c["type"])), bool(c.get("nullable", False)))
        for c in signature["inputs"]
    )
    runtime = body["runtime"]
    kind = str(runtime["kind"])
    classes = signature.get("classes")
    answers = {str(o["name"]): str(ColumnType(o["type"])) for o in signature["outputs"]}
    if kind == "onnx":
        outputs = runtime["outputs"]
        file, tensors = runtime["file"], _onnx_tensors(runtime["inputs"], columns)
        label, probabilities = str(outputs["label"]), outputs.get("probabilities")
    elif kind == "native":
        file, tensors = body["native"]["file"], _native_tensors(columns)
        label = "prediction"
        probabilities = "probabilities" if "probabilities" in answers else None
    else:
        raise ValueError(f"runtime {kind!r} isn't onnx or native")
    return Description(
        task=str(body["task"]),
        columns=columns,
        classes=None if classes is None else tuple(classes),
        kind=kind,
        file=str(file),
        tensors=tensors,
        label=label,
        probabilities=probabilities,
        prediction=answers["prediction"],
    )


def _onnx_tensors(inputs: list[dict[str, Any]], columns: tuple[Field, ...]) -> tuple[Tensor, ...]:
    index = {column.name: i for i, column in enumerate(columns)}
    tensors = tuple(
        Tensor(str(t["tensor"]), tuple(index[c] for c in t["columns"]), str(t["dtype"]))
        for t in inputs
    )
    used = [i for t in tensors for i in t.columns]
    if len(used) != len(set(used)):
        raise ValueError("a column feeds two tensors")
    for tensor in tensors:
        for i in tensor.columns:
            if (tensor.dtype == "string") != (columns[i].type in _TEXT):
                raise ValueError(f"column {columns[i].name!r} doesn't fit {tensor.dtype}")
    return tensors


def _native_tensors(columns: tuple[Field, ...]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(c.name, (i,), "text" if c.type in _TEXT else "float64")
        for i, c in enumerate(columns)
    )
