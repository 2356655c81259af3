from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from volant.errors import InvalidInput, StepFailed, VolantError
from volant.evaluation.metrics import score
from volant.training.provenance import folder_hash
from volant.training.train import train

NUMBERS = itertools.count()


@pytest.fixture
def run(
    tmp_path: Path, bundled: Any, mixed: Any, train_inputs: Any, context: Any
) -> Callable[..., dict[str, Any]]:
    """Train with `source` as the user's module; `{m}` in `call` is its unique name."""

    def start(source: str, *, call: str = "{m}:fit", rows: Any = None, **changes: Any) -> Any:
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        name = f"user_train_{next(NUMBERS)}"
        (code / f"{name}.py").write_text(source)
        pq.write_table(bundled("wine") if rows is None else rows, tmp_path / "train.parquet")
        inputs = train_inputs(
            tmp_path / "train.parquet",
            call=call.format(m=name),
            code_dir=str(code),
            **changes,
        )
        return train(inputs, context, score)

    return start


def loaded(answer: dict[str, Any]) -> Any:
    with Path(answer["model_dir"], "model.pkl").open("rb") as file:
        return pickle.load(file)


def test_gets_what_it_asks_for_and_returns_metrics(run: Any, bundled: Any, tmp_path: Path) -> None:
    answer = run(
        """
from sklearn.ensemble import RandomForestClassifier

def fit(data, target, task, seed, params, checkpoint_dir, workdir, log_metric, extra=1):
    assert task == "classification" and checkpoint_dir.is_dir() and workdir.is_dir()
    for value in (3.0, 2.0):
        log_metric("loss", value)
    log_metric("loss", 1.0, step=9)
    print("fitting")
    model = RandomForestClassifier(params["trees"], random_state=seed)
    return model.fit(data.drop(columns=[target]), data[target]), {"oob": 0.5, "bad": float("nan")}
""",
        params={"trees": 10},
    )
    assert answer["metrics"] == {"train_oob": 0.5}
    assert answer["params"]["trees"] == 10
    assert [(p["value"], p["step"]) for p in answer["history"]] == [(3.0, 0), (2.0, 1), (1.0, 9)]
    assert answer["code_hash"] == folder_hash(tmp_path / "code")
    assert answer["runtime"]["kind"] == "onnx"
    table = bundled("wine")
    assert (loaded(answer).predict(table) == table.column("target").to_numpy()).mean() > 0.9


def test_features_and_target_apart_with_everything_else(run: Any, mixed: Any) -> None:
    rows = mixed(120)
    answer = run(
        """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def fit(X, y, **rest):
    assert set(rest) >= {"data", "target", "params", "seed"}
    prepare = make_column_transformer(
        (SimpleImputer(), ["size", "count"]), (OneHotEncoder(handle_unknown="ignore"), ["color"])
    )
    return make_pipeline(prepare, LogisticRegression()).fit(X, y)
""",
        rows=rows,
    )
    assert answer["runtime"]["kind"] == "native"
    assert answer["signature"]["classes"] == ["no", "yes"]
    model = loaded(answer)
    names = [c["name"] for c in answer["signature"]["inputs"]]
    lists = {name: rows.column(name).to_pylist() for name in names}
    assert (model.predict(lists) == model.predict(rows)).all()


def test_an_estimator_on_some_columns_asks_for_those_alone(run: Any) -> None:
    answer = run(
        """
from sklearn.linear_model import LogisticRegression

def fit(X, y):
    return LogisticRegression().fit(X[["hue", "alcohol"]], y)
"""
    )
    assert [c["name"] for c in answer["signature"]["inputs"]] == ["hue", "alcohol"]
    assert loaded(answer).predict({"alcohol": [13.0], "hue": [1.0]}).shape == (1,)


def test_an_estimator_on_plain_arrays(run: Any, bundled: Any) -> None:
    answer = run(
        """
class Mean:
    def fit(self, X, y):
        self.value = float(y.mean())
        return self
    def predict(self, X):
        assert type(X).__name__ == "ndarray"
        return X[:, 0] * 0 + self.value

def fit(X, y):
    return Mean().fit(X, y)
""",
        rows=bundled("diabetes"),
        task="regression",
    )
    assert answer["runtime"]["kind"] == "native"
    # The user's class travels in the pickle.
    code = (
        "import sys, pickle, numpy\n"
        "print(pickle.load(open(sys.argv[1], 'rb')).predict(numpy.ones((1, 10))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"{answer['model_dir']}/model.pkl"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.startswith("[152.1")


def test_a_classifier_without_probabilities(run: Any) -> None:
    answer = run(
        "from sklearn.svm import LinearSVC\n"
        "def fit(X, y):\n    return LinearSVC(max_iter=50_000, dual=False).fit(X / 1000, y)\n"
    )
    assert answer["signature"]["classes"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("source", "call", "words", "fix"),
    [
        ("", "fit", "doesn't name a function", "train:fit"),
        ("", "nowhere:fit", "no module 'nowhere' in", "beside volant.yaml"),
        ("def fitt(): pass", "{m}:fit", "has no function 'fit'", "fitt'?"),
        ("", "{m}:fit", "has no function 'fit'", "Define fit"),
        ("fit = 3", "{m}:fit", "is a int, not a function", "Name a function"),
        ("def fit(frame): pass", "{m}:fit", "asks for 'frame'", "It may ask for: data, X, y"),
        ("def fit(dat): pass", "{m}:fit", "asks for 'dat'", "Did you mean 'data'?"),
        ("def fit(): pass", "{m}:fit", "returned a NoneType", "Return the fitted estimator"),
        (
            "class E:\n    def predict(self, X): return [0] * len(X)\n"
            "def fit(): return E(), {'loss': 'low'}",
            "{m}:fit",
            "metric 'loss' as 'low'",
            "{name: number}",
        ),
        (
            "class E:\n    def predict(self, X): raise KeyError('colour')\ndef fit(): return E()",
            "{m}:fit",
            "KeyError: 'colour'",
            "every preparation into the estimator",
        ),
        (
            "class E:\n    def predict(self, X): return [1]\ndef fit(): return E()",
            "{m}:fit",
            "1 predictions for 5 rows",
            "every preparation",
        ),
        (
            "class E:\n    def predict(self, X): return [0] * len(X)\n"
            "    def predict_proba(self, X): return [[1, 0, 0]] * len(X)\ndef fit(): return E()",
            "{m}:fit",
            "no classes_",
            "Set classes_",
        ),
        (
            "import threading\nclass E:\n    lock = threading.Lock()\n"
            "    def __init__(self): self.own = threading.Lock()\n"
            "    def predict(self, X): return [0] * len(X)\ndef fit(): return E()",
            "{m}:fit",
            "can't be pickled",
            "locks",
        ),
    ],
)
def test_mistakes_are_told(source: str, call: str, words: str, fix: str, run: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(source, call=call)
    assert words in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "def fit():\n    raise ValueError('rows are odd')",
            "raised ValueError while it ran: rows",
        ),
        ("raise RuntimeError('at import')\n", "raised RuntimeError while importing"),
        ("import not_there_at_all\n", "raised ModuleNotFoundError while importing"),
        ("import sys\ndef fit():\n    sys.exit(3)", "raised SystemExit while it ran: 3"),
    ],
)
def test_what_it_raises_is_kept_with_its_traceback(
    source: str, words: str, run: Any, capsys: Any
) -> None:
    with pytest.raises(StepFailed) as caught:
        run(source)
    assert words in caught.value.what
    assert "Traceback" in caught.value.details["traceback"]
    assert "Traceback" in capsys.readouterr().err
    json.dumps(caught.value.to_dict())
    assert isinstance(caught.value, VolantError)


def test_predictions_are_the_same_from_every_kind_of_rows(run: Any, bundled: Any) -> None:
    answer = run(
        "from sklearn.tree import DecisionTreeClassifier\n"
        "def fit(X, y, seed):\n    return DecisionTreeClassifier(random_state=seed).fit(X, y)\n"
    )
    model, table = loaded(answer), bundled("wine").drop_columns(["target"])
    array = np.column_stack([c.to_numpy() for c in table.columns])
    assert (model.predict(table) == model.predict(array)).all()
    assert (model.predict(table) == model.predict(table.to_pandas())).all()
