"""Models that were fitted elsewhere, turned into ONNX and proven like our own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
from sklearn.pipeline import Pipeline

from volant.domain.model import Field
from volant.training.boosters import lightgbm_estimator, xgboost_estimator
from volant.training.columns import ForeignEstimator, TableInput
from volant.training.onnx_export import Conversion, convert

_ARROW: dict[str, pa.DataType] = {
    "integer": pa.float64(),  # as a served row brings it
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.string(),
}


def convert_outside(
    form: str,
    model: Any,
    fields: Sequence[Field],
    rows: Mapping[str, Sequence[Any]],
    classes: Sequence[Any] | None,
) -> dict[str, Any]:
    """Convert `model` (of the format `form`: sklearn, lightgbm, xgboost) and compare it
    with itself on `rows`: {model: bytes | None, inputs, outputs, max_abs_diff, reason}.

    Never raises for what the model is: whatever goes wrong is the `reason`.
    """
    made = _conversion(form, model, fields, rows, classes)
    return {
        "model": made.model,
        "inputs": list(made.inputs),
        "outputs": made.outputs,
        "max_abs_diff": made.max_abs_diff,
        "reason": made.reason,
    }


def _conversion(
    form: str,
    model: Any,
    fields: Sequence[Field],
    rows: Mapping[str, Sequence[Any]],
    classes: Sequence[Any] | None,
) -> Conversion:
    table = pa.table({f.name: pa.array(rows[f.name], _ARROW[f.type]) for f in fields})
    if form == "sklearn" and _is_own(model):
        return convert(model, table)
    named = list(classes or ())
    if form != "sklearn" and named != list(range(len(named))):
        return Conversion(None, reason="its classes have names, and the ONNX form has numbers")
    try:
        estimator = _ESTIMATORS[form](model, classes)
    except Exception as error:  # another release of a library may have changed its parts
        return Conversion(None, reason=f"it can't be converted to ONNX: {error}")
    columns = TableInput([f.name for f in fields], [f.type for f in fields], _form(model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        return convert(Pipeline([("input", columns), ("model", estimator)]), table)


def _is_own(model: Any) -> bool:
    first = model.steps[0][1] if getattr(model, "steps", None) else None
    return all(hasattr(first, name) for name in ("names", "types", "form"))


def _form(model: Any) -> str:
    """An estimator that knows its columns' names was fitted on a DataFrame. Without pandas it
    is asked as it is served then, with an array."""
    framed = hasattr(model, "feature_names_in_") and find_spec("pandas") is not None
    return "frame" if framed else "values"


def _sklearn(model: Any, _classes: Sequence[Any] | None) -> Any:
    return model if hasattr(model, "get_params") else ForeignEstimator(model)


_ESTIMATORS = {
    "sklearn": _sklearn,
    "lightgbm": lightgbm_estimator,
    "xgboost": xgboost_estimator,
}
