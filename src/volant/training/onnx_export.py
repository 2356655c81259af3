"""Turn a fitted pipeline into ONNX, and prove that both say the same.

A conversion counts only if, on a sample of real rows and on the same rows with holes
in them, ONNX Runtime's answers agree with scikit-learn's. Otherwise the model is
served by scikit-learn, and the reason is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_regressor_converter as convert_forest_regressor,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from volant.training.columns import TableInput
from volant.training.schema import has_missing

TOLERANCE = 1e-4
_SAMPLE_ROWS = 500
_HOLED_SHARE = 0.2
_OPSET = {"": 18, "ai.onnx.ml": 3}


@dataclass(frozen=True, slots=True)
class Conversion:
    """`model` is the ONNX file's content, or None with the reason why not."""

    model: bytes | None
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: dict[str, str | None] | None = None
    max_abs_diff: float | None = None
    reason: str = ""


def convert(pipeline: Pipeline, rows: pa.Table, seed: int = 0) -> Conversion:
    """Convert `pipeline` (its first step a `TableInput`) and compare on up to 500 of `rows`.

    Never raises for what the model is: whatever goes wrong is the `reason`.
    """
    table_input = cast("TableInput", pipeline.steps[0][1])
    if "timestamp" in table_input.types:
        names = [
            n for n, t in zip(table_input.names, table_input.types, strict=True) if t == "timestamp"
        ]
        return Conversion(None, reason=f"timestamps ({', '.join(names)}) are taken apart in Python")
    try:
        matrix = _sample(table_input, rows, seed)
        inputs, model = _converted(pipeline, table_input)
        session = _session(model)
        used = {i.name for i in session.get_inputs()}
        inputs = tuple(i for i in inputs if i["tensor"] in used)
        return _prove(pipeline, table_input, matrix, Conversion(model, inputs), session)
    except Exception as error:  # converters raise whatever they like on models they don't know
        first = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {first[0][:200]}" if first else type(error).__name__
        return Conversion(None, reason=f"it can't be converted to ONNX: {text}")


def _sample(table_input: TableInput, rows: pa.Table, seed: int) -> NDArray[Any]:
    """Up to 500 rows; in the last half, cells of the columns that have missing values are
    blanked at random. (Where none is missing, a served row may not have one either.)"""
    rng = np.random.default_rng(seed)
    count = min(_SAMPLE_ROWS, rows.num_rows)
    chosen = np.sort(rng.choice(rows.num_rows, size=count, replace=False))
    matrix = np.array(
        TableInput(table_input.names, table_input.types).transform(rows.take(pa.array(chosen)))
    )
    holed = rng.random(matrix.shape) < _HOLED_SHARE
    holed[: count // 2] = False
    for index, (name, kind) in enumerate(zip(table_input.names, table_input.types, strict=True)):
        if not has_missing(rows.column(name)):
            continue
        matrix[holed[:, index], index] = "" if kind == "string" else np.nan
    return matrix


def _converted(
    pipeline: Pipeline, table_input: TableInput
) -> tuple[tuple[dict[str, Any], ...], bytes]:
    inputs = _declared(table_input)
    try:
        return inputs, _to_onnx(pipeline, inputs)
    except Exception:
        if table_input.form != "frame":
            raise
        # Steps that pick a DataFrame's columns by name find tensors of those names.
        named = tuple(
            {"tensor": n, "columns": [n], "dtype": "string" if t == "string" else "float32"}
            for n, t in zip(table_input.names, table_input.types, strict=True)
        )
        return named, _to_onnx(pipeline, named)


def _declared(table_input: TableInput) -> tuple[dict[str, Any], ...]:
    """One float tensor for an all-numeric model, else one tensor a column."""
    names = list(table_input.names)
    if "string" not in table_input.types:
        return ({"tensor": "x", "columns": names, "dtype": "float32"},)
    return tuple(
        {
            "tensor": f"c{index}",
            "columns": [name],
            "dtype": "string" if kind == "string" else "float32",
        }
        for index, (name, kind) in enumerate(zip(names, table_input.types, strict=True))
    )


def _to_onnx(pipeline: Pipeline, inputs: Sequence[dict[str, Any]]) -> bytes:
    _register()
    types = [
        (
            i["tensor"],
            StringTensorType([None, 1])
            if i["dtype"] == "string"
            else FloatTensorType([None, len(i["columns"])]),
        )
        for i in inputs
    ]
    steps = pipeline.steps[1:]
    rest = steps[0][1] if len(steps) == 1 else Pipeline(steps)
    options = None
    if hasattr(pipeline, "predict_proba"):
        options = {id(steps[-1][1]): {"zipmap": False}}
    model: Any = convert_sklearn(
        rest, initial_types=types, options=options, target_opset=_OPSET, name="volant"
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _prove(
    pipeline: Pipeline,
    table_input: TableInput,
    matrix: NDArray[Any],
    made: Conversion,
    session: ort.InferenceSession,
) -> Conversion:
    names = list(table_input.names)
    feed: dict[str, Any] = {}
    for tensor in made.inputs:
        part = matrix[:, [names.index(c) for c in tensor["columns"]]]
        feed[tensor["tensor"]] = part.astype(object if tensor["dtype"] == "string" else np.float32)
    answers = session.run(None, feed)
    outputs = [o.name for o in session.get_outputs()]
    after = Pipeline(pipeline.steps[1:])
    native = _native_input(table_input, matrix)
    predicted = np.asarray(after.predict(native)).ravel()
    if not hasattr(pipeline, "predict_proba"):
        return _judge_values(made, outputs, predicted, np.asarray(answers[0]).ravel())
    expected = np.asarray(after.predict_proba(native))
    found = np.asarray(answers[1])
    worst = float(np.max(np.abs(found - expected)))
    # A tie within the tolerance may fall either way; any other difference is a wrong label.
    labels = np.asarray(after.classes_)[found.argmax(axis=1)]
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE
    if worst > TOLERANCE or (labels[clear] != predicted[clear]).any():
        return Conversion(
            None, max_abs_diff=worst, reason=f"its ONNX probabilities differ by {worst:.2g}"
        )
    return Conversion(
        made.model, made.inputs, {"label": outputs[0], "probabilities": outputs[1]}, worst
    )


def _judge_values(
    made: Conversion, outputs: list[str], expected: NDArray[Any], found: NDArray[Any]
) -> Conversion:
    worst = float(np.max(np.abs(found - expected)))
    scale = float(np.max(np.abs(expected)))
    if not worst <= TOLERANCE * scale:
        return Conversion(
            None,
            max_abs_diff=worst,
            reason=f"its ONNX predictions differ by {worst:.2g} at a scale of {scale:.2g}",
        )
    return Conversion(made.model, made.inputs, {"label": outputs[0], "probabilities": None}, worst)


def _native_input(table_input: TableInput, matrix: NDArray[Any]) -> Any:
    """The sample in the form that the estimator was fitted on."""
    names = table_input.names
    columns = {
        name: np.array([None if v == "" else v for v in matrix[:, i]], dtype=object)
        if kind == "string"
        else matrix[:, i]
        for i, (name, kind) in enumerate(zip(names, table_input.types, strict=True))
    }
    return table_input.transform(columns)


def floor32(values: Any) -> list[float]:
    """Each value's largest float32 that isn't above it.

    For a float32 x and a float64 threshold t, x ≤ t is the same as x ≤ floor32(t);
    rounding t to the nearest float32 instead may move it past x.
    """
    exact = np.asarray(values, dtype=np.float64)
    single = exact.astype(np.float32)
    above = single.astype(np.float64) > exact
    return np.where(above, np.nextafter(single, np.float32(-np.inf)), single).tolist()


class PlainAttributes:
    """A converter's container that makes NumPy's arrays and numbers plain (ONNX takes no
    others as attributes) and rounds the thresholds of trees down."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> Any:
        plain = {name: _plain(value) for name, value in attributes.items()}
        if "nodes_values" in plain:
            plain["nodes_values"] = floor32(plain["nodes_values"])
        return self._container.add_node(*args, **plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _lightgbm(scope: Any, operator: Any, container: Any) -> None:
    convert_lightgbm(scope, operator, PlainAttributes(container))


def _hist_classifier(scope: Any, operator: Any, container: Any) -> None:
    convert_sklearn_random_forest_classifier(scope, operator, PlainAttributes(container))


def _hist_regressor(scope: Any, operator: Any, container: Any) -> None:
    convert_forest_regressor(scope, operator, PlainAttributes(container))


def _register() -> None:
    """Tell skl2onnx of LightGBM and of histogram boosting. Doing so again changes nothing."""
    probabilities = {"zipmap": [True, False, "columns"], "raw_scores": [True, False]}
    update_registered_converter(
        LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        _lightgbm,
        options={"nocl": [True, False], **probabilities},
    )
    update_registered_converter(
        LGBMRegressor,
        "LightGbmLGBMRegressor",
        calculate_linear_regressor_output_shapes,
        _lightgbm,
        options={"split": None},
    )
    update_registered_converter(
        HistGradientBoostingClassifier,
        "VolantHistGradientBoostingClassifier",
        calculate_linear_classifier_output_shapes,
        _hist_classifier,
        options={"nocl": [True, False], **probabilities},
    )
    update_registered_converter(
        HistGradientBoostingRegressor,
        "VolantHistGradientBoostingRegressor",
        calculate_linear_regressor_output_shapes,
        _hist_regressor,
    )
