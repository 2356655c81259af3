from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from volant.training.columns import TableInput, slots_of
from volant.training.families import Candidate, Setting, build
from volant.training.onnx_export import TOLERANCE, convert, floor32
from volant.training.prepare import plan_preparation

PARAMS: dict[str, Any] = {
    "linear": {"strength": 1.0},
    "boosting": {
        "trees": 60,
        "rate": 0.1,
        "leaves": 15,
        "leaf": 4,
        "rows": 0.9,
        "features": 0.8,
        "shrink": 1.0,
    },
    "forest": {"trees": 20, "features": 0.5, "leaf": 1},
    "extra_trees": {"trees": 20, "features": 0.5, "leaf": 1},
}


def rows_of(seed: int, text: bool) -> pa.Table:
    """Values on a coarse grid, so that thresholds fall between floats that are close."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        f"n{i}": np.where(
            rng.random(150) < 0.1, np.nan, np.round(rng.normal(size=150) * 10.0**i, 2)
        )
        for i in range(-2, 3)
    }
    if text:
        columns["s"] = rng.choice(["a", "b", "c", None], 150)
        columns["b"] = rng.random(150) < 0.5
    return pa.table({k: pa.array(v, from_pandas=True) for k, v in columns.items()})


def fitted(table: pa.Table, estimator: Any, target: Any, scaled: bool = False) -> Pipeline:
    kinds = {"s": "string", "b": "boolean"}
    types = [kinds.get(name, "number") for name in table.column_names]
    table_input = TableInput(table.column_names, types)
    matrix = table_input.transform(table)
    plan = plan_preparation(matrix, slots_of(table.column_names, types))
    transformer = plan.transformer(scaled=scaled)
    estimator.fit(transformer.fit_transform(matrix), target)
    return Pipeline([("input", table_input), ("prepare", transformer), ("model", estimator)])


def target_for(table: pa.Table, kind: str) -> Any:
    signal = np.nan_to_num(table.column("n0").to_numpy())
    if kind == "regression":
        return signal * 1e3 + 5
    if kind == "three":
        return np.where(signal > 0.4, "a", np.where(signal < -0.4, "b", "c"))
    return signal > 0 if kind == "boolean" else (signal > 0).astype(np.int64) + 3


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("kind", ["regression", "three", "boolean", "integer"])
@pytest.mark.parametrize("family", [*PARAMS, "histogram"])
def test_every_family_converts_and_agrees(family: str, kind: str, text: bool) -> None:
    table = rows_of(len(family) + len(kind), text)
    task = "regression" if kind == "regression" else "classification"
    if family == "histogram":
        estimator: Any = (
            HistGradientBoostingRegressor(max_iter=20)
            if task == "regression"
            else HistGradientBoostingClassifier(max_iter=20)
        )
    else:
        estimator = build(Candidate(family, PARAMS[family], 1.0), Setting(task, 0, 1))
    pipeline = fitted(table, estimator, target_for(table, kind), scaled=family == "linear")
    made = convert(pipeline, table)
    assert made.model is not None, made.reason
    assert made.max_abs_diff is not None
    assert made.max_abs_diff < (1.0 if task == "regression" else 1e-5)
    tensors = [i["tensor"] for i in made.inputs]
    assert tensors == (["x"] if not text else [t for t in tensors if t.startswith("c")])
    session = ort.InferenceSession(made.model, providers=["CPUExecutionProvider"])
    assert {i.name for i in session.get_inputs()} == set(tensors)


@given(st.floats(-1e30, 1e30), st.floats(-(2.0**99), 2.0**99, width=32))
def test_a_threshold_rounded_down_splits_float32_as_before(threshold: float, value: float) -> None:
    (rounded,) = floor32([threshold])
    assert (value <= threshold) == (value <= rounded)


def test_timestamps_are_served_natively() -> None:
    table_input = TableInput(["t"], ["timestamp"])
    made = convert(Pipeline([("input", table_input), ("model", object())]), pa.table({"t": [0]}))
    assert made.model is None
    assert "timestamps (t)" in made.reason


def test_what_has_no_converter_is_served_natively() -> None:
    class Odd(KNeighborsClassifier):
        pass

    table = rows_of(1, False)
    made = convert(fitted(table, Odd(), target_for(table, "three")), table)
    assert made.model is None
    assert "can't be converted" in made.reason


def test_a_model_that_float32_cant_hold_is_refused() -> None:
    class Sharp(HistGradientBoostingRegressor):
        """Predicts otherwise than its converted form."""

        def predict(self, X: Any) -> Any:
            return super().predict(X) + 0.01

    table = rows_of(2, False)
    pipeline = fitted(
        table, HistGradientBoostingRegressor(max_iter=5), target_for(table, "regression") * 1e-6
    )
    pipeline.steps[-1][1].__class__ = Sharp
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes

    from volant.training import onnx_export

    update_registered_converter(
        Sharp, "Sharp", calculate_linear_regressor_output_shapes, onnx_export._hist_regressor
    )
    made = convert(pipeline, table)
    assert made.model is None
    assert made.max_abs_diff == pytest.approx(0.01, rel=0.01)
    assert "differ by" in made.reason
    assert TOLERANCE == 1e-4
