"""Gradient boosting that was fitted elsewhere, as estimators which the ONNX conversion
knows: LightGBM's and XGBoost's own model files hold a booster and no estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxmltools.convert.lightgbm._parse import WrappedBooster
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from volant.training.onnx_export import PlainAttributes

_PROBABILITIES = {"zipmap": [True, False, "columns"], "raw_scores": [True, False]}


class BoosterRegressor(RegressorMixin, BaseEstimator):
    """A LightGBM `Booster` that answers one number a row."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    def fit(self, X: Any, y: Any = None) -> BoosterRegressor:
        """It is fitted already."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(self.booster.predict(X))


class BoosterClassifier(ClassifierMixin, BaseEstimator):
    """A LightGBM `Booster` that answers probabilities; its classes are 0, 1, …"""

    def __init__(self, booster: Any, classes: int) -> None:
        self.booster = booster
        self.classes = classes

    def fit(self, X: Any, y: Any = None) -> BoosterClassifier:
        """It is fitted already."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> NDArray[np.int64]:
        """0, 1, …"""
        return np.arange(self.classes)

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        raw = np.asarray(self.booster.predict(X))
        return np.stack([1.0 - raw, raw], axis=1) if raw.ndim == 1 else raw

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        return self.predict_proba(X).argmax(axis=1)


def lightgbm_estimator(booster: Any, classes: Sequence[Any] | None) -> Any:
    """An estimator around `booster`, known to the conversion."""
    update_registered_converter(
        BoosterRegressor,
        "VolantBoosterRegressor",
        calculate_linear_regressor_output_shapes,
        _convert_booster,
    )
    update_registered_converter(
        BoosterClassifier,
        "VolantBoosterClassifier",
        calculate_linear_classifier_output_shapes,
        _convert_booster,
        options={"nocl": [True, False], **_PROBABILITIES},
    )
    return (
        BoosterRegressor(booster) if classes is None else BoosterClassifier(booster, len(classes))
    )


def xgboost_estimator(booster: Any, classes: Sequence[Any] | None) -> Any:
    """XGBoost's own estimator around `booster`, known to the conversion. Raises `ValueError`
    for a booster that it has no form for."""
    import json

    import xgboost as xgb  # pyright: ignore[reportMissingImports]
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    form = str(json.loads(booster.save_config())["learner"]["gradient_booster"]["name"])
    if form != "gbtree":
        raise ValueError(f"the conversion knows XGBoost's trees (gbtree), and this is a {form}")

    if "c" in (booster.feature_types or ()):
        raise ValueError("the conversion doesn't know XGBoost's categorical columns")

    def convert(scope: Any, operator: Any, container: Any) -> None:
        convert_xgboost(scope, operator, PlainAttributes(container))

    update_registered_converter(
        xgb.XGBRegressor,
        "VolantXGBRegressor",
        calculate_linear_regressor_output_shapes,
        convert,
    )
    update_registered_converter(
        xgb.XGBClassifier,
        "VolantXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert,
        options={"nocl": [True, False], **_PROBABILITIES},
    )
    estimator = xgb.XGBRegressor() if classes is None else xgb.XGBClassifier()
    estimator.load_model(_nameless(booster).save_raw("ubj"))
    return estimator


def _nameless(booster: Any) -> Any:
    """The same booster over columns by place: the converter takes no other names than f0,
    f1, …"""
    copy = booster.copy()
    copy.feature_names = None
    copy.feature_types = None
    return copy


class _Wrapped:
    """An operator whose raw one is what onnxmltools takes for LightGBM's boosters."""

    def __init__(self, operator: Any) -> None:
        self._operator = operator
        self.raw_operator = WrappedBooster(operator.raw_operator.booster)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


def _convert_booster(scope: Any, operator: Any, container: Any) -> None:
    convert_lightgbm(scope, _Wrapped(operator), PlainAttributes(container))
