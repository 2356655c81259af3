"""What an `MLmodel` file says of a model's inputs and outputs.

The format: https://mlflow.org/docs/latest/ml/model/. The file may come from anybody: it is
read with bounds, and whatever doesn't fit means that nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.bounded_yaml import read_yaml
from volant.domain.contract import ColumnType
from volant.domain.model import Field, Signature, Tensors, TensorSpec

UNKNOWN = Signature((), (), "")
_MOST_COLUMNS = 10_000

_COLUMNS = {
    "boolean": ColumnType.BOOLEAN,
    "integer": ColumnType.INTEGER,
    "long": ColumnType.INTEGER,
    "float": ColumnType.NUMBER,
    "double": ColumnType.NUMBER,
    "string": ColumnType.STRING,
    "datetime": ColumnType.TIMESTAMP,
}
_TENSORS = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"{u.lower()}int{n}": f"{u}INT{n}" for u in ("", "U") for n in (8, 16, 32, 64)},
}


def read_signature(folder: Path) -> Signature:
    """The signature that a model's folder declares, `UNKNOWN` when it has none that can
    be understood."""
    file = folder / "MLmodel"
    try:
        told = read_yaml(file)["signature"]
        inputs = _specs(told["inputs"])
        outputs = _specs(told["outputs"]) if told.get("outputs") else ()
    except (OSError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        return UNKNOWN
    fields = tuple(each for each in inputs if isinstance(each, Field))
    if len(fields) == len(inputs):
        answers = tuple(each for each in outputs if isinstance(each, Field))
        return Signature(fields, answers, "")
    tensors = tuple(each for each in inputs if isinstance(each, TensorSpec))
    answered = tuple(each for each in outputs if isinstance(each, TensorSpec))
    return Signature((), (), "", tensors=Tensors(tensors, answered))


def _specs(text: str) -> tuple[Field | TensorSpec, ...]:
    found = json.loads(text)
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_COLUMNS:
        raise ValueError("not a list of columns")
    return tuple(_spec(each, i) for i, each in enumerate(found))


def _spec(each: Mapping[str, Any], i: int) -> Field | TensorSpec:
    if each["type"] == "tensor":
        spec = each["tensor-spec"]
        shape = tuple(int(size) for size in spec["shape"])
        datatype = _TENSORS.get(str(spec["dtype"]), "BYTES")
        return TensorSpec(str(each.get("name") or f"input-{i}"), datatype, shape)
    kind = _COLUMNS[each["type"]]
    return Field(str(each.get("name") or f"column-{i}"), kind.value, not each.get("required", True))
