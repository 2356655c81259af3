"""Models that were fitted on a DataFrame, asked where pandas isn't installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from volant.domain.model import Field
from volant.errors import MissingExtra
from volant.serving.description import read_description
from volant.serving.refusal import Refusal
from volant.serving.runtimes import sklearn as runtime
from volant.serving.runtimes.sklearn import NativeModel
from volant.training import thaw

FRAME = pd.DataFrame(
    {
        "rooms": [1, 2, 3, 4, 5, 6],
        "area": [30.0, 45.5, 70.0, 81.0, 99.5, 120.0],
        "new": [True, False, False, True, True, False],
    }
)
RENT = 200 + 9 * FRAME["area"] + 40 * FRAME["rooms"] - 10 * FRAME["new"]
TYPES = {"rooms": "integer", "area": "number", "new": "boolean", "city": "string"}


@pytest.fixture
def no_pandas(monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)


def fields(*names):
    return tuple(Field(name, TYPES[name], nullable=False) for name in names)


def described(columns, classes=None):
    outputs = [{"name": "prediction", "type": "number" if classes is None else "integer"}]
    if classes is not None:
        outputs.append({"name": "probabilities", "type": "number"})
    inputs = [{"name": c.name, "type": c.type, "nullable": c.nullable} for c in columns]
    return read_description(
        {
            "format": 1,
            "task": "regression" if classes is None else "classification",
            "signature": {
                "kind": "columns",
                "inputs": inputs,
                "outputs": outputs,
                "classes": classes,
            },
            "runtime": {"kind": "native", "file": "model.pkl"},
            "native": {"file": "model.pkl"},
        }
    )


def feeds(*names):
    return [FRAME[[name]].to_numpy(dtype=np.float64) for name in names]


def scaled():
    return make_pipeline(StandardScaler(), LinearRegression())


def by_name():
    chosen = [("scaled", StandardScaler(), ["area"]), ("hot", OneHotEncoder(), ["rooms"])]
    return make_pipeline(ColumnTransformer(chosen, remainder="passthrough"), LinearRegression())


def using_the_frame(rows):
    return rows.assign(area=rows["area"] * 2)


def own_code():
    doubled = FunctionTransformer(using_the_frame, feature_names_out="one-to-one")
    return make_pipeline(doubled, LinearRegression())


@pytest.mark.parametrize("order", [("rooms", "area", "new"), ("new", "area", "rooms")])
@pytest.mark.parametrize("make", [LinearRegression, scaled])
@pytest.mark.usefixtures("no_pandas")
def test_numbers_go_in_as_an_array_in_the_models_own_order(make, order):
    fitted = make().fit(FRAME, RENT)
    model = NativeModel(fitted, described(fields(*order)))
    (answer,) = model.predict(feeds(*order)).outputs
    assert answer.tolist() == pytest.approx(fitted.predict(FRAME).tolist())


@pytest.mark.usefixtures("no_pandas")
def test_the_warning_that_an_array_has_no_names_isnt_told(capfd):
    code = """
import sys
from tests.serving.test_serving_sklearn import *
runtime.find_spec = lambda name: None
fitted = LinearRegression().fit(FRAME, RENT)
NativeModel(fitted, described(fields(*FRAME.columns))).predict(feeds(*FRAME.columns))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.usefixtures("no_pandas")
def test_probabilities_of_a_classifier():
    likely = (RENT.mean() < RENT).astype(int)
    fitted = RandomForestClassifier(5, random_state=1).fit(FRAME, likely)
    model = NativeModel(fitted, described(fields(*FRAME.columns), [0, 1]))
    labels, shares = model.predict(feeds(*FRAME.columns)).outputs
    assert labels.tolist() == fitted.predict(FRAME).tolist()
    assert shares.tolist() == fitted.predict_proba(FRAME).tolist()


@pytest.mark.usefixtures("no_pandas")
def test_columns_with_texts_need_pandas():
    frame = FRAME.assign(city=list("aabbcc"))
    chosen = ColumnTransformer([("hot", OneHotEncoder(), ["city"])], remainder="passthrough")
    fitted = make_pipeline(chosen, LogisticRegression()).fit(frame, RENT.mean() < RENT)
    with pytest.raises(MissingExtra, match="pandas is not installed") as caught:
        NativeModel(fitted, described(fields(*frame.columns), [False, True]))
    assert "volant[mlflow]" in caught.value.fix


@pytest.mark.parametrize("make", [by_name, own_code])
@pytest.mark.usefixtures("no_pandas")
def test_what_takes_a_frame_for_granted_needs_pandas_when_it_is_opened(make):
    fitted = make().fit(FRAME, RENT)
    with pytest.raises(MissingExtra, match="pandas is not installed"):
        NativeModel(fitted, described(fields(*FRAME.columns)))


@pytest.mark.usefixtures("no_pandas")
def test_values_that_a_model_refuses_are_no_want_of_pandas():
    frame = FRAME[["rooms"]]
    fitted = make_pipeline(OneHotEncoder(), LinearRegression()).fit(frame, RENT)
    model = NativeModel(fitted, described(fields("rooms")))  # which has never seen a 0
    assert model.predict([np.array([[3.0]])]).outputs[0].tolist() == pytest.approx([RENT[2]])
    with pytest.raises(Refusal, match="unknown categories"):
        model.predict([np.array([[9.0]])])


@pytest.mark.usefixtures("no_pandas")
def test_other_columns_than_the_models_are_refused():
    fitted = LinearRegression().fit(FRAME[["rooms", "area"]], RENT)
    with pytest.raises(ValueError, match="fitted on the columns rooms, area"):
        NativeModel(fitted, described(fields("rooms", "new")))


@pytest.mark.parametrize("make", [scaled, by_name, own_code])
def test_with_pandas_it_is_asked_with_a_frame(make):
    fitted = make().fit(FRAME, RENT)
    model = NativeModel(fitted, described(fields(*FRAME.columns)))
    (answer,) = model.predict(feeds(*FRAME.columns)).outputs
    assert answer.tolist() == pytest.approx(fitted.predict(FRAME).tolist())


@pytest.mark.parametrize(
    ("make", "needed"), [(LinearRegression, False), (scaled, False), (by_name, True)]
)
def test_thawing_tells_whether_a_model_needs_a_frame(make, needed):
    assert thaw.needs_a_frame(make().fit(FRAME, RENT)) is needed
    assert not thaw.needs_a_frame(LinearRegression().fit(FRAME.to_numpy(float), RENT))


class Summed:
    """Adds up in another order where it gets a frame, as columns lie otherwise in memory."""

    feature_names_in_ = np.array(["a", "b", "c"])

    def predict(self, rows):
        values = np.asarray(rows)
        values = values[:, ::-1] if isinstance(rows, pd.DataFrame) else values
        return np.add.accumulate(values, axis=1)[:, -1]


def test_another_order_of_summing_up_is_no_need_of_a_frame():
    rows = np.array([[0.1, 0.2, 0.3]])
    assert Summed().predict(rows) != Summed().predict(pd.DataFrame(rows))
    assert not thaw.needs_a_frame(Summed())
    named = RandomForestClassifier(5, random_state=1).fit(FRAME, list("aabbcc"))
    assert not thaw.needs_a_frame(named)
