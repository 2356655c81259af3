"""XGBoost's own files, as far as the ONNX conversion knows them."""

from __future__ import annotations

import numpy as np
import pytest

from volant.domain.model import Field
from volant.serving.description import Description, Tensor
from volant.serving.model_files import ModelFiles
from volant.training.outside import convert_outside

xgb = pytest.importorskip("xgboost")

NAMES = ["floor area", "rooms", "age"]
RNG = np.random.default_rng(4)
X = RNG.normal(size=(300, 3)).astype(np.float32)
Y = X[:, 0] + 2 * X[:, 1]


def fitted(settings, target=Y, **more):
    data = xgb.DMatrix(X, label=target, feature_names=NAMES, **more)
    return xgb.train({"nthread": 1, **settings}, data, 5)


def converted(booster, classes=None):
    fields = [Field(name, "number", True) for name in NAMES]
    rows = {name: X[:, i].astype(float).tolist() for i, name in enumerate(NAMES)}
    return convert_outside("xgboost", booster, fields, rows, classes)


@pytest.mark.parametrize(
    ("settings", "target", "classes"),
    [
        ({"objective": "reg:squarederror"}, Y, None),
        ({"objective": "binary:logistic"}, Y > 0, [0, 1]),
        ({"objective": "multi:softprob", "num_class": 3}, np.digitize(Y, [-1, 1]), [0, 1, 2]),
    ],
)
def test_columns_of_any_names_are_converted(settings, target, classes):
    booster = fitted(settings, target)
    made = converted(booster, classes)
    assert made["model"], made["reason"]
    assert made["max_abs_diff"] < 1e-4
    assert booster.feature_names == NAMES, "the model itself stays as it is"


@pytest.mark.parametrize("form", ["dart", "gblinear"])
def test_what_the_conversion_doesnt_know_is_told(form):
    assert form in converted(fitted({"booster": form}))["reason"]


def test_categorical_columns_are_told():
    kinds = ["float", "float", "c"]
    x = np.column_stack([X[:, :2], RNG.integers(0, 4, len(X))])
    settings = {"tree_method": "hist", "nthread": 1}
    data = xgb.DMatrix(
        x, label=Y, feature_names=NAMES, feature_types=kinds, enable_categorical=True
    )
    assert "categorical" in converted(xgb.train(settings, data, 3))["reason"]


@pytest.mark.parametrize("form", ["gbtree", "dart", "gblinear"])
def test_every_booster_is_served_as_xgboost_answers(tmp_path, form):
    from volant.formats.prove import _hashes
    from volant.serving.runtimes.xgboost import open_model

    booster = fitted({"booster": form})
    booster.save_model(tmp_path / "m.ubj")
    columns = tuple(Field(name, "number", True) for name in NAMES)
    tensors = tuple(Tensor(name, (i,), "float64") for i, name in enumerate(NAMES))
    told = Description("regression", columns, None, "xgboost", "m.ubj", tensors, label="prediction")
    model = open_model(ModelFiles(tmp_path, _hashes(tmp_path)), told, {})
    answer = model.predict([X[:9, i : i + 1].astype(float) for i in range(3)]).outputs[0]
    expected = booster.predict(xgb.DMatrix(X[:9], feature_names=NAMES))
    assert np.allclose(answer, expected, atol=1e-6)
