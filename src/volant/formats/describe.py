"""From what was found to a draft: what the model itself says of its inputs and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from volant.domain.model import Field, TensorSpec
from volant.errors import InvalidInput
from volant.formats.column_names import in_order, listed
from volant.formats.draft import Draft
from volant.formats.example import Example
from volant.formats.onnx_classes import classes_of
from volant.formats.signature import Declared

_TYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16", "tensor(string)": "BYTES", "tensor(bool)": "BOOL",
    **{f"tensor({u}int{b})": f"{u.upper()}INT{b}" for u in ("", "u") for b in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be described: the model's folder, what `inspect` found, and what its
    maker told. `prefix` is where the files will lie in the package."""

    folder: Path
    found: Mapping[str, Any]
    declared: Declared
    example: Example | None
    prefix: str = "model"

    @property
    def path(self) -> Path:
        return self.folder / self.found["file"]

    @property
    def packaged(self) -> str:
        name = self.found["file"]
        return self.prefix if name == "." else f"{self.prefix}/{name}"


def describe(
    subject: Subject, unpickled: Callable[[bytes, str], Any], taken: Callable[..., Any]
) -> Draft:
    """Raises `InvalidInput` when something is missing that only its maker knows, and what
    the library raises on files that it can't read."""
    formats: dict[str, Callable[[Subject], Draft]] = {
        "onnx": _onnx,
        "sklearn": lambda s: _sklearn(s, unpickled),
        "lightgbm": _lightgbm,
        "xgboost": _xgboost,
        "torch": _torch,
        "transformers": _transformers,
        "tensorflow": lambda s: _graph(s, taken),
        "openvino": lambda s: _graph(s, taken),
        "mlflow": _asked,
        "code": _asked,
    }
    draft = formats[subject.found["format"]](subject)
    if not draft.columns and not draft.tensors:
        raise InvalidInput(
            f"{subject.path.name} takes no inputs: it answers the same to everyone.",
            "Register a model that predicts from what it is given.",
            code="model.signature",
        )
    return draft


# ONNX


def _onnx(subject: Subject) -> Draft:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(subject.path), options, providers=["CPUExecutionProvider"])
    inputs = tuple(onnx_tensor(one) for one in session.get_inputs())
    wanted = [one for one in session.get_outputs() if one.type in _TYPES]
    if not wanted:
        raise InvalidInput(
            f"{subject.path.name} answers {session.get_outputs()[0].type}, and no tensor.",
            "Export it so that it answers tensors; for skl2onnx: options={'zipmap': False}.",
            code="model.outputs",
        )
    outputs = tuple(onnx_tensor(one) for one in wanted)
    for one in (*inputs, *outputs):
        if one.datatype == "BF16":
            raise InvalidInput(
                f"{one.name!r} is BF16, which ONNX Runtime neither takes nor answers here.",
                "Export the graph with float or float16 inputs and outputs; inside it may "
                "have BF16.",
                code="model.not_served",
            )
    data = [f"{subject.prefix}/{name}" for name in subject.found["facts"].get("data") or ()]
    draft = Draft(
        "onnx",
        subject.packaged,
        subject.declared.task or "tensors",
        tensors=inputs,
        outputs=outputs,
        classes=subject.declared.classes,
        runtime={"data": data} if data else {},
        discover=any(-1 in one.shape[1:] or not one.shape for one in outputs),
    )
    return _onnx_columns(subject, draft) or draft


def onnx_tensor(one: Any) -> TensorSpec:
    datatype = _TYPES.get(one.type)
    if datatype is None:
        raise InvalidInput(
            f"The input {one.name!r} is a {one.type}, which isn't a tensor.",
            "Export the model with tensors as its inputs.",
        )
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in one.shape or ())
    return TensorSpec(one.name, datatype, shape)


def _onnx_columns(subject: Subject, draft: Draft) -> Draft | None:
    """The same graph over columns, where they are declared and it answers as a classifier
    or a regressor does; None where it takes tensors."""
    columns = subject.declared.columns or (subject.example.fields() if subject.example else ())
    mapped = _mapped(draft.tensors, columns)
    ending = _ending(draft.outputs)
    if not columns or mapped is None or ending is None:
        if subject.declared.columns:
            raise InvalidInput(
                f"The graph's inputs {', '.join(t.name for t in draft.tensors)} don't take the "
                f"declared columns {', '.join(c.name for c in columns[:12])}.",
                "Declare them in the graph's words, as tensors; or leave the signature out.",
                code="model.signature",
            )
        return None
    label, probabilities, prediction, width = ending
    classes = subject.declared.classes
    if probabilities and classes is None:
        classes = classes_of(subject.path, label, width)
    if probabilities and classes is None:
        if subject.declared.columns:
            raise InvalidInput(
                f"The graph doesn't tell the classes that {label!r} is one of.",
                "Name them in the signature as `classes`, in the order of the probabilities.",
                code="model.signature",
            )
        return None
    return replace(
        draft,
        task="classification" if probabilities else subject.declared.task or "regression",
        columns=columns,
        tensors=(),
        outputs=(),
        prediction=prediction,
        probabilities=probabilities is not None,
        classes=classes,
        runtime={
            **draft.runtime,
            "inputs": mapped,
            "outputs": {"label": label, "probabilities": probabilities},
        },
        discover=False,
    )


def _mapped(tensors: Sequence[TensorSpec], columns: Sequence[Field]) -> list[dict[str, Any]] | None:
    dtypes = {"FP32": "float32", "FP64": "float64", "BYTES": "string"}
    if any(t.datatype not in dtypes or len(t.shape) != 2 or t.shape[0] != -1 for t in tensors):
        return None
    by_name = {c.name: c for c in columns}
    if len(tensors) == 1 and tensors[0].shape[1] in (-1, len(columns)):
        names = [c.name for c in columns]
    elif all(t.name in by_name and t.shape[1] in (1, -1) for t in tensors):
        names = []
    else:
        return None
    return [
        {"tensor": t.name, "columns": names or [t.name], "dtype": dtypes[t.datatype]}
        for t in tensors
    ]


def _ending(outputs: Sequence[TensorSpec]) -> tuple[str, str | None, str, int] | None:
    """(label, probabilities, the label's column type, classes) of tabular answers."""
    words = {"INT64": "integer", "BYTES": "string", "FP32": "number", "BOOL": "boolean"}
    first = outputs[0]
    flat = len(first.shape) == 1 or (len(first.shape) == 2 and first.shape[1] == 1)
    if not flat or first.datatype not in words:
        return None
    if len(outputs) == 1:
        return first.name, None, words[first.datatype], 0
    second = outputs[1]
    if len(outputs) == 2 and len(second.shape) == 2 and second.datatype == "FP32":
        return first.name, second.name, words[first.datatype], second.shape[1]
    return None


# estimators


def _sklearn(subject: Subject, unpickled: Callable[[bytes, str], Any]) -> Draft:
    estimator = unpickled(subject.path.read_bytes(), subject.path.name)
    if not callable(getattr(estimator, "predict", None)):
        raise InvalidInput(
            f"{subject.path.name} holds a {type(estimator).__name__}, which can't predict.",
            "Register the whole fitted pipeline, its last step an estimator.",
            code="model.not_a_model",
        )
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        raise _several(subject)
    first: Any = estimator.steps[0][1] if getattr(estimator, "steps", None) else None
    if all(hasattr(first, name) for name in ("names", "types", "form")):  # Volant's own
        columns = tuple(Field(n, t, True) for n, t in zip(first.names, first.types, strict=True))
    else:
        names = [str(n) for n in getattr(estimator, "feature_names_in_", ())]
        columns = _columns(subject, names, getattr(estimator, "n_features_in_", None), False)
    draft = _tabular(subject, "native", columns, None if classes is None else classes.tolist())
    return replace(
        draft,
        probabilities=draft.classes is not None and hasattr(estimator, "predict_proba"),
        model=estimator,
    )


def _several(subject: Subject) -> InvalidInput:
    return InvalidInput(
        f"{subject.path.name} predicts several targets at once.",
        "Register one model for each target.",
        code="model.outputs",
    )


def _lightgbm(subject: Subject) -> Draft:
    import lightgbm as lgb

    text = subject.path.read_text(encoding="utf-8", errors="replace")
    if "\nend of trees" not in text:  # LightGBM would end the process
        raise InvalidInput(
            f"{subject.path.name} can't be read by LightGBM: is it whole? Its trees have no end.",
            "Copy it again, or save it again with save_model.",
            code="model.broken",
        )
    booster = lgb.Booster(model_file=str(subject.path))
    told = dict(line.split("=", 1) for line in text.splitlines()[:60] if "=" in line)
    objective, classes = told.get("objective", ""), int(told.get("num_class", "1"))
    if objective.startswith(("binary", "cross_entropy")):
        classes = 2
    names = booster.feature_name()
    columns = _columns(subject, names, len(names), True)
    ranges = {
        column.name: (float(low), float(high))
        for column, info in zip(columns, told.get("feature_infos", "").split(), strict=False)
        if info.startswith("[")
        for low, high in [info.strip("[]").split(":")]
    }
    draft = _tabular(subject, "lightgbm", columns, list(range(classes)) if classes > 1 else None)
    return replace(draft, probabilities=classes > 1, model=booster, ranges=ranges)


def _xgboost(subject: Subject) -> Draft:
    import json

    import xgboost as xgb  # pyright: ignore[reportMissingImports]

    booster = xgb.Booster()
    booster.load_model(str(subject.path))
    learner = json.loads(booster.save_config())["learner"]
    if int(learner["learner_model_param"].get("num_target") or 1) > 1:
        raise _several(subject)
    objective = str(learner["objective"]["name"])
    count = int(learner["learner_model_param"].get("num_class") or 0)
    classes = 2 if objective == "binary:logistic" else count if objective == "multi:softprob" else 0
    names = [str(n) for n in booster.feature_names or ()]
    columns = _columns(subject, names, booster.num_features(), True)
    draft = _tabular(subject, "xgboost", columns, list(range(classes)) if classes > 1 else None)
    return replace(draft, probabilities=classes > 1, model=booster)


def _columns(
    subject: Subject, names: Sequence[str], count: int | None, nullable: bool
) -> tuple[Field, ...]:
    """Declared, the example's, or numbers by the model's own names, in the model's order.

    Raises `InvalidInput` for tensors, and for columns that aren't the model's: by their place
    they would feed one into another.
    """
    if subject.declared.tensors and subject.found.get("signature"):  # MLflow's own are of arrays
        raise InvalidInput(
            f"{subject.path.name} takes columns; the signature tells tensors.",
            'Declare its columns, {"inputs": [{"name": "a", "type": "number"}]}, or leave the '
            "signature out.",
            code="model.signature",
        )
    told = subject.declared.columns or (subject.example.fields() if subject.example else ())
    if not told:
        if not names and not count:
            raise InvalidInput(
                "Neither the model nor anything beside it tells which columns it takes.",
                "Register it with --example, a file with a few rows of its inputs.",
                code="model.signature",
            )
        own = names or [f"x{i}" for i in range(count or 0)]
        return tuple(Field(name, "number", nullable) for name in own)
    told = in_order(names, told, estimator=subject.found["format"] == "sklearn")
    if count is not None and len(told) != count:
        raise InvalidInput(
            f"The model takes {count} columns; {len(told)} are told: "
            f"{listed([f.name for f in told])}.",
            "Give the example or signature with the model's own columns, and without its target.",
            code="model.signature",
        )
    return tuple(replace(f, nullable=True) if nullable else f for f in told)


def _tabular(
    subject: Subject, kind: str, columns: tuple[Field, ...], classes: list[Any] | None
) -> Draft:
    told = subject.declared.classes
    if told is not None and classes is None:
        raise InvalidInput(
            "The signature tells classes; the model answers a number and no probabilities of any.",
            "Leave `classes` out of the signature.",
            code="model.signature",
        )
    if told is not None and classes is not None and len(told) != len(classes):
        raise InvalidInput(
            f"The model has {len(classes)} classes; the signature tells {len(told)}.",
            "Correct `classes` in the signature.",
            code="model.signature",
        )
    named = list(told) if told is not None and kind != "native" else classes
    return Draft(
        kind,
        subject.packaged,
        "regression" if named is None else "classification",
        columns=columns,
        classes=None if named is None else tuple(named),
        prediction=_class_type(named),
    )


def _class_type(classes: list[Any] | None) -> str:
    if not classes:
        return "number"
    for kind, word in ((bool, "boolean"), (int, "integer"), (float, "number")):
        if isinstance(classes[0], kind):
            return word
    return "string"


# tensors and texts


def _torch(subject: Subject) -> Draft:
    import torch  # pyright: ignore[reportMissingImports]

    if subject.path.suffix.lower() == ".pt2":
        from volant.formats.torch_program import inputs_of

        tensors = inputs_of(subject.path)
    else:
        module = torch.jit.load(str(subject.path), map_location="cpu")
        names = [a.name for a in module.forward.schema.arguments[1:]]
        tensors = subject.declared.tensors or _shaped(subject.example)
        if len(tensors) != len(names):
            raise InvalidInput(
                f"TorchScript doesn't tell the shapes of its inputs {', '.join(names)}.",
                "Register it with --example or --signature, with one tensor for each of them.",
                code="model.signature",
            )
    return Draft(
        "torch",
        subject.packaged,
        subject.declared.task or "tensors",
        tensors=tensors,
        outputs=subject.declared.outputs,
        classes=subject.declared.classes,
        discover=True,
    )


def _shaped(example: Example | None) -> tuple[TensorSpec, ...]:
    """The example's tensors, any number of rows."""
    return tuple(
        TensorSpec(str(t["name"]), str(t["datatype"]), (-1, *(int(s) for s in t["shape"][1:])))
        for t in (example.tensors if example else ())
    )


def _transformers(subject: Subject) -> Draft:
    facts = subject.found["facts"]
    task = subject.declared.task or facts.get("pipeline")
    if not task:
        raise InvalidInput(
            f"Nothing tells what the model {facts.get('architecture')} is for.",
            "Give its pipeline with --task, such as text-classification.",
            code="model.task",
        )
    names = ("question", "context") if task == "question-answering" else ("text",)
    runtime: dict[str, Any] = {"pipeline": task}
    for key in ("model", "tokenizer"):
        if facts.get(key):
            runtime[key] = facts[key]
    return Draft(
        "transformers",
        subject.packaged,
        str(task),
        tensors=tuple(TensorSpec(name, "BYTES", (-1,)) for name in names),
        runtime=runtime,
        discover=True,
    )


def _graph(subject: Subject, taken: Callable[..., Any]) -> Draft:
    """By the model's own names and shapes. MLflow's signatures name neither."""
    key = str(subject.found["facts"].get("signature_key") or "")
    own = tuple(TensorSpec(*one) for one in taken(subject.path, key))
    told = {one.name: one for one in subject.declared.tensors}
    if set(told) == {one.name for one in own}:  # shapes of fewer open sizes, perhaps
        own = tuple(told[one.name] for one in own)
    return Draft(
        subject.found["format"],
        subject.packaged,
        subject.declared.task or "tensors",
        tensors=own,
        classes=subject.declared.classes,
        runtime={"signature_key": key} if key else {},
        discover=True,
    )


def _inside(subject: Subject) -> tuple[tuple[Field, ...], tuple[TensorSpec, ...]]:
    """What the model that pyfunc wraps says itself: scikit-learn's names or number of
    features, Keras' shapes. Nothing where it says nothing."""
    import mlflow.pyfunc  # pyright: ignore[reportMissingImports]

    model: Any = mlflow.pyfunc.load_model(str(subject.folder))
    raw: Any = model.get_raw_model() if hasattr(model, "get_raw_model") else None
    names = [str(name) for name in getattr(raw, "feature_names_in_", ())]
    count = 0 if names else int(getattr(raw, "n_features_in_", 0) or 0)
    columns = tuple(Field(n, "number") for n in names or [f"x{i}" for i in range(count)])
    inputs = getattr(raw, "inputs", None)
    if columns or not isinstance(inputs, list) or len(cast("list[Any]", inputs)) != 1:
        return columns, ()
    only: Any = inputs[0]
    shape = tuple(-1 if size is None else int(size) for size in only.shape)
    datatype = {"float64": "FP64", "int64": "INT64", "int32": "INT32"}.get(str(only.dtype), "FP32")
    return (), (TensorSpec("input-0", datatype, shape),)


def _asked(subject: Subject) -> Draft:
    """MLflow's pyfunc and a user's class: inputs as declared, or as the example has them."""
    declared, example = subject.declared, subject.example
    columns = declared.columns or (example.fields() if example and example.columns else ())
    tensors = declared.tensors or (() if columns else _shaped(example))
    if not columns and not tensors and subject.found["format"] == "mlflow":
        columns, tensors = _inside(subject)
    if not columns and not tensors:
        raise InvalidInput(
            "Nothing tells what the model takes.",
            "Register it with --example, a file with a few rows or tensors, or with --signature.",
            code="model.signature",
        )
    return Draft(
        subject.found["kind"],
        subject.packaged,
        declared.task or "custom",
        columns=() if tensors else columns,
        tensors=tensors,
        outputs=declared.outputs,
        classes=declared.classes,
        discover=True,
    )
