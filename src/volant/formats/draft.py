"""What is known of a model on its way to a `volant.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from volant.domain.model import Field, Signature, Tensors, TensorSpec
from volant.formats.example import Example, plain

_SHOWN_ROWS = 3
_MOST_EXAMPLE = 16 << 20
_MOST_VALUES = 4_000_000  # of a made-up example
_WORDS = {
    "integer": "INT64", "number": "FP64", "boolean": "BOOL", "string": "BYTES",
    "timestamp": "BYTES",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """Columns or tensors in; out either `prediction` and `probabilities` by the task, or
    `outputs`. `model` is the opened estimator of formats that may become ONNX; `ranges`
    are those that it was trained on, where it tells them."""

    kind: str
    file: str
    task: str
    columns: tuple[Field, ...] = ()
    tensors: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    prediction: str = "number"
    probabilities: bool = False
    classes: tuple[Any, ...] | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: Any = None
    ranges: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    discover: bool = False  # its outputs are found by running the example

    def signature(self) -> Signature:
        """As the registry stores it."""
        fields = (Field("prediction", self.prediction),)
        if self.probabilities:
            fields += (Field("probabilities", "number"),)
        tensors = Tensors(self.tensors, self.outputs) if self.tensors or self.outputs else None
        return Signature(
            self.columns, () if self.outputs else fields, self.task, self.classes, tensors
        )

    def body(self) -> dict[str, Any]:
        """The content of `volant.json`."""
        if self.tensors:
            signature: dict[str, Any] = {
                "kind": "tensors",
                "inputs": [asdict(one) for one in self.tensors],
            }
        else:
            signature = {
                "kind": "columns",
                "inputs": [
                    {"name": f.name, "type": str(f.type), "nullable": f.nullable}
                    for f in self.columns
                ],
            }
        if self.outputs or self.tensors:
            signature["outputs"] = [asdict(one) for one in self.outputs]
        else:
            signature["outputs"] = [
                {"name": f.name, "type": f.type} for f in self.signature().outputs
            ]
        signature["classes"] = None if self.classes is None else list(self.classes)
        return {
            "format": 1,
            "task": self.task,
            "signature": signature,
            "runtime": {"kind": self.kind, "file": self.file, **self.runtime},
            **({"native": {"file": self.file}} if self.kind == "native" else {}),
        }


def example_file(draft: Draft, example: Example | None) -> bytes | None:
    """`input_example.json`; None without an example, or with one that is too large."""
    if example is None:
        return None
    body: dict[str, Any]
    if draft.columns:
        rows = _rows_of(draft, example)
        if not rows:
            return None
        names = [f.name for f in draft.columns]
        body = {
            "columns": names,
            "data": [[plain(row.get(n)) for n in names] for row in rows[:_SHOWN_ROWS]],
        }
    else:
        request = request_of(draft, example, 1)
        if request is None:
            return None
        body = request
    content = json.dumps(body).encode()
    return content if len(content) <= _MOST_EXAMPLE else None


def made_up_example(draft: Draft) -> bytes | None:
    """`input_example.json` where nobody gave one: values amid the ranges that it was
    trained on where it tells them, else zeros, false and short texts. None where it would
    be too large."""
    if draft.columns:
        row = [_made_up(column, draft.ranges.get(column.name)) for column in draft.columns]
        body: dict[str, Any] = {"columns": [c.name for c in draft.columns], "data": [row]}
    else:
        if sum(math.prod(max(s, 1) for s in spec.shape) for spec in draft.tensors) > _MOST_VALUES:
            return None
        body = zeros_request(draft.tensors, 1)
    content = json.dumps(body).encode()
    return content if len(content) <= _MOST_EXAMPLE else None


def _made_up(column: Field, bounds: tuple[float, float] | None) -> Any:
    if bounds is not None and all(map(math.isfinite, bounds)):
        middle = (bounds[0] + bounds[1]) / 2
        return round(middle) if column.type == "integer" else middle
    blank: dict[str, Any] = {
        "number": 0.0,
        "integer": 0,
        "boolean": False,
        "timestamp": "2030-01-01T00:00:00",
    }
    return blank.get(column.type, "a text")


def _rows_of(draft: Draft, example: Example) -> list[dict[str, Any]]:
    names = [f.name for f in draft.columns]
    if example.matrix is not None:
        rows = example.matrix if isinstance(example.matrix[0], list) else [example.matrix]
        return [dict(zip(names, row, strict=False)) for row in rows]
    if example.tensors:
        by_name = {str(t["name"]): _flat(t["data"]) for t in example.tensors}
        columns = {n: by_name[n] for n in names if n in by_name}
    else:
        columns = {n: list(example.columns[n]) for n in names if n in example.columns}
    count = min((len(v) for v in columns.values()), default=0)
    return [{n: values[i] for n, values in columns.items()} for i in range(count)]


def columns_of(draft: Draft, example: Example | None) -> dict[str, list[Any]]:
    """The example's values by column; empty without one."""
    rows = [] if example is None else _rows_of(draft, example)
    return {f.name: [row.get(f.name) for row in rows] for f in draft.columns} if rows else {}


def request_of(draft: Draft, example: Example | None, rows: int) -> dict[str, Any] | None:
    """`rows` rows of the example (repeated if need be) as a request of the protocol; None
    when the example doesn't fit, or there is none."""
    if example is None:
        return None
    if draft.columns:
        known = _rows_of(draft, example)
        if not known:
            return None
        chosen = [known[i % len(known)] for i in range(rows)]
        return {
            "inputs": [
                {
                    "name": f.name,
                    "shape": [rows],
                    "datatype": _WORDS[f.type],
                    "data": [plain(row.get(f.name)) for row in chosen],
                }
                for f in draft.columns
            ]
        }
    return _tensor_request(draft.tensors, example, rows)


def _tensor_request(
    specs: Sequence[TensorSpec], example: Example, rows: int
) -> dict[str, Any] | None:
    given: list[tuple[list[int], list[Any]]] = []
    by_name = {str(t["name"]): t for t in example.tensors}
    for spec in specs:
        if spec.name in by_name:
            one = by_name[spec.name]
            given.append(([int(s) for s in one["shape"]], _flat(one["data"])))
        elif spec.name in example.columns:
            values = list(example.columns[spec.name])
            given.append(([len(values)] + [1] * (len(spec.shape) - 1), values))
        elif example.matrix is not None and len(specs) == 1:
            given.append((_shape(example.matrix), _flat(example.matrix)))
        else:
            return None
    batch = all(spec.shape[:1] == (-1,) for spec in specs)
    return {
        "inputs": [
            {
                "name": spec.name,
                "datatype": spec.datatype,
                **(_resized(shape, data, rows) if batch else {"shape": shape, "data": data}),
            }
            for spec, (shape, data) in zip(specs, given, strict=True)
        ]
    }


def _resized(shape: list[int], data: list[Any], rows: int) -> dict[str, Any]:
    """The same tensor with `rows` rows, its own repeated."""
    count = shape[0] or 1
    size = len(data) // count
    chosen = [data[(i % count) * size : (i % count + 1) * size] for i in range(rows)]
    return {"shape": [rows, *shape[1:]], "data": [value for row in chosen for value in row]}


def zeros_request(specs: Sequence[TensorSpec], rows: int) -> dict[str, Any]:
    """Where there is no example: zeros, false, and short texts; a size that may be any is
    `rows` in front and 1 elsewhere."""
    tensors: list[dict[str, Any]] = []
    for spec in specs:
        shape = [rows if i == 0 and s < 0 else max(s, 1) for i, s in enumerate(spec.shape)]
        size = 1
        for one in shape:
            size *= one
        value = {"BYTES": "a text", "BOOL": False}.get(spec.datatype, 0)
        tensors.append(
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": shape,
                "data": [value] * size,
            }
        )
    return {"inputs": tensors}


def _shape(value: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [one for part in value for one in _flat(part)]
