"""What a model folder says of its model (`volant.json`), as frozen facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.serving.datatypes import DATATYPES

_TEXT = frozenset({ColumnType.STRING, ColumnType.TIMESTAMP})

Class = str | int | float | bool

OIP_TYPE = {
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "string": "BYTES",
    "timestamp": "BYTES",
}
_PLATFORMS = {
    "native": "scikit-learn",
    "onnx": "onnxruntime",
    "onnx-text": "onnxruntime",
    "torch": "pytorch",
    "code": "python",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of the runtime: which columns of the signature it holds (by index, in
    order) and its element type: `float32`, `float64`, `string` (a missing one is "") or
    `text` (a missing one is None)."""

    name: str
    columns: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class TensorInput:
    """One N-D input of a model that takes tensors: `datatype` in the protocol's words;
    -1 in `shape` stands for any size. BYTES reach the model as an object array of `str`
    (of `bytes` where they aren't UTF-8), BF16 as float32."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer; its first dimension is the rows'."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of a model whose columns are all numbers, in order, in one tensor: each column's
    position by its name, those that hold whole numbers, and the tensor's element type."""

    positions: Mapping[str, int]
    whole: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Description:
    """A model as a replica needs it: either `columns`, fed to the runtime as `tensors`,
    or N-D `inputs`, fed as they are.

    `label` and `probabilities` name the runtime's outputs of a model over columns, and
    the second is None when there are none; `prediction` is the `ColumnType` of the
    answer; `kind` is the runtime; `file` lies in the model's folder. `outputs` are what
    every answer holds, in this order; over columns they follow from the rest unless
    they are given. `batchable`: the first dimension of every tensor counts rows, so that
    requests may be predicted together; `ragged`: other sizes of the inputs vary as well.
    """

    task: str
    columns: tuple[Field, ...]
    classes: tuple[Class, ...] | None
    kind: str
    file: str
    tensors: tuple[Tensor, ...]
    label: str = ""
    probabilities: str | None = None
    prediction: str = "number"
    inputs: tuple[TensorInput, ...] = ()
    outputs: tuple[Output, ...] = ()
    numbers: Numbers | None = field(init=False, default=None)
    batchable: bool = field(init=False, default=True)
    ragged: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", _numbers(self.columns, self.tensors))
        if not self.outputs:
            object.__setattr__(self, "outputs", _outputs(self))
        shapes = [tensor.shape for tensor in (*self.inputs, *self.outputs)]
        open_ends = any(-1 in tensor.shape[1:] for tensor in self.inputs)
        object.__setattr__(self, "ragged", open_ends)
        object.__setattr__(self, "batchable", all(shape[:1] == (-1,) for shape in shapes))

    @property
    def platform(self) -> str:
        """What predicts, in the metadata's words."""
        return _PLATFORMS.get(self.kind, self.kind)


def _outputs(model: Description) -> tuple[Output, ...]:
    """`prediction`, and `probabilities` when the model has them."""
    onnx = model.kind == "onnx"
    single = onnx and model.prediction == "number" and model.classes is None
    prediction = Output("prediction", "FP32" if single else OIP_TYPE[model.prediction], (-1,))
    if model.probabilities is None:
        return (prediction,)
    classes = list(model.classes or ())
    return (
        prediction,
        Output(
            "probabilities",
            "FP32" if onnx else "FP64",
            (-1, len(classes) or -1),
            {"classes": classes},
        ),
    )


def _numbers(columns: tuple[Field, ...], tensors: tuple[Tensor, ...]) -> Numbers | None:
    """None unless the columns are numbers of one tensor."""
    tensor = tensors[0] if len(tensors) == 1 else None
    if tensor is None or tensor.columns != tuple(range(len(columns))):
        return None
    if tensor.dtype not in ("float32", "float64") or {c.type for c in columns} - {
        "number",
        "integer",
    }:
        return None
    return Numbers(
        {column.name: i for i, column in enumerate(columns)},
        tuple(i for i, column in enumerate(columns) if column.type == "integer"),
        tensor.dtype,
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
    runtime = body["runtime"]
    kind = str(runtime["kind"])
    if signature.get("kind", "columns") == "tensors":
        return _of_tensors(body, kind)
    columns = tuple(
        Field(str(c["name"]), str(ColumnType(c["type"])), bool(c.get("nullable", False)))
        for c in signature["inputs"]
    )
    classes = signature.get("classes")
    answers: dict[str, str] = {}
    outputs: tuple[Output, ...] = ()
    if any("datatype" in output for output in signature["outputs"]):
        outputs = _described(signature["outputs"])
    else:
        answers = {str(o["name"]): str(ColumnType(o["type"])) for o in signature["outputs"]}
    if kind == "onnx":
        names = runtime["outputs"]
        tensors = _onnx_tensors(runtime["inputs"], columns)
        label, probabilities = str(names["label"]), names.get("probabilities")
    else:
        tensors = _native_tensors(columns)
        label = "prediction"
        probabilities = "probabilities" if "probabilities" in answers else None
    return Description(
        task=str(body["task"]),
        columns=columns,
        classes=None if classes is None else tuple(classes),
        kind=kind,
        file=_file(body, kind),
        tensors=tensors,
        label=label,
        probabilities=probabilities,
        prediction=answers.get("prediction", "number") if outputs else answers["prediction"],
        outputs=outputs,
    )


def _of_tensors(body: Mapping[str, Any], kind: str) -> Description:
    signature = body["signature"]
    inputs = tuple(
        TensorInput(o.name, o.datatype, o.shape) for o in _described(signature["inputs"])
    )
    if len({tensor.name for tensor in inputs}) != len(inputs) or not inputs:
        raise ValueError("inputs need different names")
    classes = signature.get("classes")
    return Description(
        task=str(body["task"]),
        columns=(),
        classes=None if classes is None else tuple(classes),
        kind=kind,
        file=_file(body, kind),
        tensors=(),
        inputs=inputs,
        outputs=_described(signature["outputs"]),
    )


def _described(tensors: list[dict[str, Any]]) -> tuple[Output, ...]:
    found = tuple(
        Output(
            str(t["name"]),
            str(t["datatype"]),
            tuple(int(size) for size in t["shape"]),
            dict(t.get("parameters") or {}),
        )
        for t in tensors
    )
    for tensor in found:
        if tensor.datatype not in DATATYPES:
            raise ValueError(f"{tensor.name!r} has no datatype {tensor.datatype!r}")
        if any(size < -1 for size in tensor.shape):
            raise ValueError(f"{tensor.name!r} has a size below -1")
    return found


def _file(body: Mapping[str, Any], kind: str) -> str:
    return str(body["native"]["file"] if kind == "native" else body["runtime"].get("file", ""))


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
