"""What a model takes and answers, as its maker declared it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volant.domain.contract import ColumnType
from volant.domain.model import Field, TensorSpec
from volant.errors import InvalidInput

DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
             "FP16", "FP32", "FP64", "BF16", "BYTES")  # fmt: skip
_FROM_MLFLOW = {
    "long": "integer", "integer": "integer", "double": "number", "float": "number",
    "string": "string", "boolean": "boolean", "datetime": "timestamp",
}  # fmt: skip
_FROM_NUMPY = {
    "bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64", "object": "BYTES",
    "str": "BYTES",
    **{f"{u}int{b}": f"{u.upper()}INT{b}" for u in ("", "u") for b in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known before the model is looked at; nothing here is more than a claim that
    the proof then checks. `columns` and `tensors` exclude each other."""

    columns: tuple[Field, ...] = ()
    tensors: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    classes: tuple[Any, ...] | None = None
    task: str | None = None

    @property
    def known(self) -> bool:
        """Whether the inputs are told."""
        return bool(self.columns or self.tensors)


def read_signature(body: Mapping[str, Any]) -> Declared:
    """A signature file: `inputs` are columns {name, type, nullable} or tensors {name,
    datatype, shape}; `outputs` tensors, `classes` and `task` may be left out. Raises
    `InvalidInput`."""
    try:
        inputs = list(body.get("inputs") or ())
        columns = tuple(_field(one) for one in inputs if "type" in one)
        tensors = tuple(tensor_of(one) for one in inputs if "type" not in one)
        outputs = tuple(tensor_of(o) for o in body.get("outputs") or () if "datatype" in o)
        classes = body.get("classes")
        if columns and tensors:
            raise ValueError("its inputs are columns and tensors")
        names = [one.name for one in (*columns, *tensors)]
        if len(set(names)) != len(names):
            raise ValueError("two inputs have the same name")
        return Declared(
            columns,
            tensors,
            outputs,
            None if classes is None else tuple(classes),
            str(body["task"]) if body.get("task") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"The signature can't be used: {error}.",
            'Write {"inputs": [{"name": "a", "type": "number"}]}, or tensors as {"name", '
            '"datatype", "shape"}.',
            code="model.signature",
        ) from None


def _field(one: Mapping[str, Any]) -> Field:
    return Field(str(one["name"]), str(ColumnType(one["type"])), bool(one.get("nullable", False)))


def tensor_of(one: Mapping[str, Any]) -> TensorSpec:
    """Raises `ValueError` for a datatype or shape that the protocol doesn't have."""
    datatype, shape = str(one["datatype"]), tuple(int(size) for size in one["shape"])
    if datatype not in DATATYPES:
        raise ValueError(f"{one['name']!r} has the datatype {datatype!r}")
    if any(size < -1 for size in shape):
        raise ValueError(f"{one['name']!r} has the shape {list(shape)}")
    return TensorSpec(str(one["name"]), datatype, shape)


def from_mlflow(signature: Mapping[str, Any] | None) -> Declared:
    """MLflow's `signature` of an MLmodel file; nothing where it has none or where it uses
    types that columns don't have (lists, objects)."""
    if not signature or not signature.get("inputs"):
        return Declared()
    try:
        inputs = _listed(signature["inputs"])
        if all(one["type"] == "tensor" for one in inputs):
            tensors = tuple(_mlflow_tensor(one, "input", i) for i, one in enumerate(inputs))
            outputs = _listed(signature.get("outputs") or "[]")
            told = tuple(
                _mlflow_tensor(one, "prediction", i)
                for i, one in enumerate(outputs)
                if one["type"] == "tensor"
            )
            return Declared((), tensors, told)
        columns = tuple(
            Field(
                str(one.get("name") or f"x{i}"),
                _FROM_MLFLOW[one["type"]],
                not one.get("required", True),
            )
            for i, one in enumerate(inputs)
        )
        return Declared(columns)
    except (KeyError, TypeError, ValueError):
        return Declared()


def _listed(text: Any) -> Sequence[Mapping[str, Any]]:
    return json.loads(text) if isinstance(text, str) else text


def _mlflow_tensor(one: Mapping[str, Any], unnamed: str, index: int) -> TensorSpec:
    spec = one["tensor-spec"]
    name = one.get("name") or (unnamed if index == 0 else f"{unnamed}_{index}")
    shape = tuple(int(size) for size in spec["shape"])
    return TensorSpec(str(name), _FROM_NUMPY[spec["dtype"]], shape)
