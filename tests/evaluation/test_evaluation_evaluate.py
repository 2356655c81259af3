from __future__ import annotations

import hashlib
import json
import multiprocessing as mp
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volant.domain.run import StepContext
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed
from volant.evaluation.evaluate import evaluate


class Rule:
    """A model: `yes` where the column is above `at`; it takes a pyarrow Table."""

    classes = ("no", "yes")

    def __init__(self, column: str, at: float) -> None:
        self.column, self.at = column, at

    def predict_proba(self, rows: pa.Table) -> Any:
        x = np.nan_to_num(rows.column(self.column).to_numpy())
        yes = 1 / (1 + np.exp(-4 * (x - self.at)))
        return np.stack([1 - yes, yes], axis=1)

    def predict(self, rows: pa.Table) -> Any:
        return np.array(self.classes, dtype=object)[self.predict_proba(rows).argmax(axis=1)]


class Linear:
    def predict(self, rows: pa.Table) -> Any:
        return rows.column("a").to_numpy() * 2.0


class Broken:
    def predict(self, rows: pa.Table) -> Any:
        raise ZeroDivisionError("of course")


def folder(path: Path, model: Any, task: str = "classification", column: str = "a") -> str:
    path.mkdir()
    (path / "model.pkl").write_bytes(pickle.dumps(model))
    facts = {
        "format": 1,
        "task": task,
        "signature": {
            "inputs": [{"name": column, "type": "number", "nullable": False}],
            "outputs": [],
            "classes": ["no", "yes"] if task == "classification" else None,
        },
        "native": {"file": "model.pkl"},
    }
    (path / "volant.json").write_text(json.dumps(facts))
    return str(path)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    a = np.random.default_rng(0).normal(size=120)
    rows = pa.table({"a": a, "b": -a, "target": np.where(a > 0, "yes", "no")})
    path = tmp_path / "holdout.parquet"
    pq.write_table(rows, path)
    return {
        "model_dir": folder(tmp_path / "good", Rule("a", 0.0)),
        "champion_dir": None,
        "champion_version": None,
        "holdout_path": str(path),
        "holdout_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "target": "target",
        "task": "classification",
        "metric": "log_loss",
        "gate": {
            "thresholds": [{"metric": "accuracy", "min": 0.8, "max": None}],
            "champion": {"better_by": 0.0, "confidence": 0.95},
        },
        "seed": 0,
    }


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext("run", "evaluate", 1, tmp_path, tmp_path)


def test_the_first_model_passes_by_its_thresholds(given: Any, context: Any, capsys: Any) -> None:
    answer = evaluate(given, context)
    assert answer["passed"]
    assert answer["metrics"]["accuracy"] == 1.0
    assert answer["champion_metrics"] is None
    assert "gate rule holds: accuracy 1 is ≥ 0.8" in capsys.readouterr().out
    json.dumps(answer)


def test_a_better_model_passes_and_a_worse_one_doesnt(
    given: Any, context: Any, tmp_path: Path
) -> None:
    worse = folder(tmp_path / "worse", Rule("a", 0.6))
    up = evaluate({**given, "champion_dir": worse, "champion_version": 3}, context)
    assert up["passed"]
    assert "(v3)" in up["reason"]
    assert up["champion_metrics"]["accuracy"] < 1
    down = evaluate(
        {**given, "model_dir": worse, "champion_dir": given["model_dir"], "gate": {}}, context
    )
    assert not down["passed"]
    assert "(the current one)" in down["reason"]


def test_the_same_inputs_give_the_same_answer(given: Any, context: Any, tmp_path: Path) -> None:
    worse = folder(tmp_path / "worse", Rule("a", 0.1))
    inputs = {**given, "champion_dir": worse, "champion_version": 1}
    assert evaluate(inputs, context) == evaluate(inputs, context)


def test_a_champion_that_wont_load_stops_the_challenger(
    given: Any, context: Any, tmp_path: Path
) -> None:
    champion = folder(tmp_path / "champion", Rule("a", 0.6))
    Path(champion, "model.pkl").write_bytes(b"not a pickle")
    answer = evaluate({**given, "champion_dir": champion, "champion_version": 1}, context)
    assert not answer["passed"]
    assert "couldn't be scored" in answer["reason"]
    raising = folder(tmp_path / "raising", Broken())
    answer = evaluate({**given, "champion_dir": raising, "champion_version": 1}, context)
    assert "ZeroDivisionError: of course" in answer["reason"]
    assert answer["champion_metrics"] is None


def test_a_champions_column_that_the_holdout_lacks_is_missing_values(
    given: Any, context: Any, tmp_path: Path
) -> None:
    champion = folder(tmp_path / "champion", Rule("later", 0.0), column="later")
    answer = evaluate({**given, "champion_dir": champion, "champion_version": 1}, context)
    assert answer["passed"]
    assert "(v1 had no values for later)" in answer["reason"]


def test_a_champion_of_another_task_isnt_compared(given: Any, context: Any, tmp_path: Path) -> None:
    champion = folder(tmp_path / "champion", Linear(), task="regression")
    answer = evaluate({**given, "champion_dir": champion, "champion_version": 1}, context)
    assert answer["passed"]
    assert "not compared" in answer["reason"]


def test_regression(given: Any, context: Any, tmp_path: Path) -> None:
    model = folder(tmp_path / "linear", Linear(), task="regression")
    inputs = {
        **given,
        "model_dir": model,
        "target": "b",
        "task": "regression",
        "metric": "rmse",
        "gate": {"thresholds": [{"metric": "r2", "min": 0.5}], "champion": None},
    }
    answer = evaluate(inputs, context)
    assert not answer["passed"]
    assert set(answer["metrics"]) == {"rmse", "mae", "r2"}


def test_an_altered_or_missing_holdout_is_refused(given: Any, context: Any) -> None:
    path = Path(given["holdout_path"])
    with pytest.raises(Conflict, match="was altered"):
        evaluate({**given, "holdout_sha256": "0" * 64}, context)
    path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        evaluate(given, context)


def test_a_challenger_that_cant_be_used_is_an_error(
    given: Any, context: Any, tmp_path: Path
) -> None:
    with pytest.raises(StepFailed, match="can't predict the holdout: ZeroDivisionError"):
        evaluate({**given, "model_dir": folder(tmp_path / "broken", Broken())}, context)
    with pytest.raises(InvalidInput, match="can't be loaded"):
        evaluate({**given, "model_dir": str(tmp_path / "nothing")}, context)


def _armed(inputs: Any, context: Any) -> None:
    os.environ["VOLANT_CRASH_AT"] = "evaluate.decided"
    evaluate(inputs, context)


def test_dies_where_it_is_told_to(given: Any, context: Any) -> None:
    child = mp.get_context("fork").Process(target=_armed, args=(given, context))
    child.start()
    child.join(30)
    assert child.exitcode == -9
