"""Trials of a search, each run here as its process would run it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from volant.domain.codec import to_plain
from volant.domain.loop import SearchRange, TuneSpec
from volant.errors import InvalidInput
from volant.evaluation.metrics import score
from volant.training.search_space import grid_point, grid_size, used
from volant.training.study import Study
from volant.training.trial_records import Records, best_of
from volant.training.tuning import trial

NUMBERS = itertools.count()
SPACE = {
    "x": SearchRange("uniform", -5.0, 5.0),
    "n": SearchRange("int", 1.0, 9.0),
    "kind": SearchRange("choice", choices=("a", None, [1])),
}
CLASSIFIER = """
from sklearn.tree import DecisionTreeClassifier

def fit(X, y, params, seed):
    return DecisionTreeClassifier(max_depth=params["n"], random_state=seed).fit(X, y)
"""
OWN = """
from sklearn.dummy import DummyClassifier

def fit(X, y, params, trial, log_metric):
    base = params["x"] ** 2
    for step in range(4):
        log_metric("seen", step)
        trial.report(step, base + 1 / (step + 1))
    return DummyClassifier().fit(X, y), {"val_loss": base}
"""


@pytest.fixture
def run(
    tmp_path: Path, bundled: Any, train_inputs: Any, contexts: Any
) -> Callable[..., dict[str, Any]]:
    """One trial of a search with `source` as the user's module."""
    pq.write_table(bundled("wine"), tmp_path / "train.parquet")
    code = tmp_path / "code"
    code.mkdir()
    names: dict[str, str] = {}

    def start(source: str, number: int, **told: Any) -> dict[str, Any]:
        if source not in names:
            names[source] = f"user_tune_{next(NUMBERS)}"
            (code / f"{names[source]}.py").write_text(source)
        inputs = train_inputs(
            tmp_path / "train.parquet", call=f"{names[source]}:fit", code_dir=str(code)
        )
        spec = TuneSpec(**{"space": SPACE, **told})
        given = {
            **inputs,
            "params": {"fixed": 1},
            "tune": to_plain(spec),
            "number": number,
            "records": str(tmp_path / "trials"),
        }
        return trial(given, contexts(f"trial-{number}"), score)

    return start


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "trials")


def test_a_trial_is_measured_on_rows_set_aside(run: Any, records: Records, capsys: Any) -> None:
    for number in range(3):
        assert run(CLASSIFIER, number)["state"] == "complete"
    found = records.all()
    assert [each.number for each in found] == [0, 1, 2]
    best = best_of(found, greater=False)
    assert best is not None
    assert best.value == min(each.metrics["val_log_loss"] for each in found)
    assert {"val_accuracy", "val_log_loss"} <= set(best.metrics)
    assert set(best.params) == {"x", "n", "kind"}
    assert f"best so far {best.value:.6g} (trial {best.number})" in capsys.readouterr().out


def test_folds_are_averaged(run: Any, records: Records) -> None:
    run(CLASSIFIER, 0, folds=3, metric="accuracy")
    done = records.get(0)
    assert list(done.reports) == [0, 1]  # after each fold but the last, for the pruner
    assert done.value == done.metrics["val_accuracy"]
    assert 0.5 < done.reports[1].value <= 1


def test_a_metric_of_ones_own_and_the_pruner(run: Any, records: Records) -> None:
    own = {"metric": "val_loss", "direction": "minimize", "trials": 16}
    states = [run(OWN, number, **own)["state"] for number in range(16)]
    assert states[:4] == ["complete"] * 4  # the median needs some to compare with
    assert "pruned" in states
    for done in records.all():
        if done.state == "pruned":
            assert len(done.reports) < 4
            assert done.value is None
        else:
            assert done.value == done.params["x"] ** 2
            assert len([p for p in done.points if p.key == "seen"]) == 4


def test_a_trial_that_died_is_done_again_with_the_same_parameters(
    run: Any, records: Records
) -> None:
    own = {"metric": "val_loss", "direction": "minimize"}
    for number in range(6):
        run(OWN, number, **own)
    whole = records.path(5).read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in (1, 2, 4, len(lines) - 1):  # after `began`, `asked`, some reports, before the end
        torn = b'{"event": "ended", "state": "comp'
        records.path(5).write_bytes(b"".join(lines[:cut]) + torn)
        assert records.get(5).ended is None
        run(OWN, 5, **own)
        again, before = records.get(5), Records(records.folder)
        assert again.begun == 2
        assert again.ended is not None
        records.path(5).write_bytes(whole)
        first = before.get(5)
        assert again.params == first.params  # the seed and what went before are the same
        assert {s: p.value for s, p in again.reports.items()} == {
            s: p.value for s, p in first.reports.items()
        }


def test_a_function_that_raises_makes_its_trial_failed(run: Any, records: Records) -> None:
    broken = "def fit(X, y, params):\n    raise ValueError('too deep')\n"
    assert run(broken, 0)["state"] == "failed"
    assert "too deep" in str(records.get(0).error)
    nan = OWN.replace('{"val_loss": base}', "{}").replace("base + 1", "float('nan') + 1")
    told = run(nan, 1, metric="val_loss", direction="minimize")
    assert told["state"] == "failed"
    returned = OWN.replace('"val_loss": base', '"val_loss": float("nan"), "fine": 1.0')
    told = run(returned, 3, metric="val_loss", direction="minimize")
    assert told == {"number": 3, "state": "failed", "value": None}
    assert records.get(3).error == "val_loss is nan."
    optuna = "import optuna\ndef fit(X, y):\n    raise optuna.TrialPruned()\n"
    assert run(optuna, 2)["state"] == "pruned"


@pytest.mark.parametrize("pruner", ["median", "asha"])
@pytest.mark.filterwarnings("error")
def test_trials_that_report_nan_are_given_up_without_a_word_of_numpy(
    tmp_path: Path, pruner: str
) -> None:
    spec, records = TuneSpec(SPACE, trials=20, pruner=pruner), Records(tmp_path)
    for number in range(8):
        value = float("nan") if number > 4 else float(number)
        records.write(number, "began")
        study = Study(spec, records, number, greater=False, seed=1)
        study.ask()
        given_up = any(study.report("loss", step, value) for step in range(1, 4))
        records.end(number, "pruned" if given_up else "complete", value=value)
    assert [trial.state for trial in records.all()][5:] == ["pruned"] * 3


def test_what_no_trial_could_do_is_told_at_once(run: Any, monkeypatch: Any) -> None:
    with pytest.raises(InvalidInput, match="didn't measure 'val_los'"):
        run(CLASSIFIER, 0, metric="val_los", direction="minimize")
    with pytest.raises(InvalidInput, match="isn't a metric of classification"):
        run(CLASSIFIER, 1, metric="rmse")
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(InvalidInput, match="cmaes") as told:
        run(CLASSIFIER, 2, sampler="cmaes")
    assert "pip install 'volant[tune]'" in told.value.fix


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("tpe", "median"), ("tpe", "hyperband"), ("random", "asha"), ("cmaes", "none")],
)
def test_a_search_told_anew_for_each_trial_finds_and_repeats(
    tmp_path: Path, sampler: str, pruner: str
) -> None:
    spec = TuneSpec(SPACE, trials=30, sampler=sampler, pruner=pruner)

    def search(folder: Path) -> Records:
        records = Records(folder)
        for number in range(spec.trials):
            records.write(number, "began")
            study = Study(spec, Records(folder), number, greater=False, seed=1)
            params = study.ask()
            value, state = params["x"] ** 2 + (params["n"] - 3) ** 2, "complete"
            for step in range(1, 8):
                if study.report("loss", step, value + 10 / step):
                    state = "pruned"
                    break
            records.end(number, state, value=value if state == "complete" else None)
        return records

    first, again = search(tmp_path / "a").all(), search(tmp_path / "b").all()
    assert [(t.params, t.state) for t in first] == [(t.params, t.state) for t in again]
    assert ("pruned" in {t.state for t in first}) == (pruner != "none")
    best = best_of(first, greater=False)
    assert best is not None
    assert best.value is not None
    assert best.value < 5


def test_a_grid_is_every_point_once() -> None:
    space = {"n": SearchRange("int", 1.0, 3.0), "kind": SPACE["kind"]}
    assert grid_size(space) == 9
    points = [used(space, grid_point(space, number)) for number in range(9)]
    assert points[0] == {"n": 1, "kind": "a"}
    assert points[5] == {"n": 2, "kind": [1]}
    assert len({str(point) for point in points}) == 9
    with pytest.raises(InvalidInput, match="grid"):
        grid_size(SPACE)
