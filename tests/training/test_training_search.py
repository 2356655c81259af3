from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from volant.evaluation.metrics import score
from volant.training.automl import find_model
from volant.training.budget import Costs, Deadline
from volant.training.columns import TableInput, slots_of
from volant.training.families import Candidate, Setting
from volant.training.prepare import plan_preparation
from volant.training.schema import features_of, target_of
from volant.training.search import Outcome, Problem, Search, folds_of, ranked


class Ticking:
    """A clock that goes on by `step` seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Working:
    """A clock that only a fold moves: each takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds

    def __call__(self) -> float:
        return self.now

    def score(self, *args: Any, **named: Any) -> dict[str, float]:
        self.now += self.seconds
        return score(*args, **named)


def find(table: pa.Table, task: str = "classification", **options: Any) -> Any:
    features = features_of(table, "target")
    settings: dict[str, Any] = {
        "metric": "log_loss" if task == "classification" else "rmse",
        "budget_s": 1e6,
        "seed": 0,
        "score": score,
        "say": lambda text: None,
        **options,
    }
    target = target_of(table, "target", task)
    return find_model(table, target, features.names, features.types, task=task, **settings)


def test_the_same_seed_and_trials_give_the_same_model(mixed: Any) -> None:
    table = mixed(60)
    one, two = (find(table, most_trials=4, clock=lambda: 0.0) for _ in range(2))
    assert one.params == two.params
    assert one.history == two.history
    assert (one.pipeline.predict_proba(table) == two.pipeline.predict_proba(table)).all()
    other = find(table, most_trials=4, clock=lambda: 0.0, seed=1)
    assert other.history != one.history


@pytest.mark.parametrize("budget", [1.0, 4.0])
def test_time_for_the_final_fit_is_set_aside(budget: float, bundled: Any) -> None:
    clock = Working(0.2)
    started: list[float] = []

    def say(text: str) -> None:
        if text.startswith("fitting"):
            started.append(clock.now)

    found = find(bundled("wine"), budget_s=budget, clock=clock, score=clock.score, say=say)
    assert 0.3 * budget < started[0] <= budget - 0.2 * 5 / 4  # all rows, a fold has 4/5
    assert found.params["trials"] >= 1


@pytest.mark.parametrize("budget", [0.0, 0.05, 0.3])
def test_a_model_comes_back_whatever_the_budget(budget: float, bundled: Any) -> None:
    table = bundled("wine")
    found = find(table, budget_s=budget, clock=Ticking(0.1))
    assert found.params["family"] == "linear"
    assert len(found.pipeline.predict(table)) == table.num_rows


def test_progress_is_readable_and_history_complete(bundled: Any) -> None:
    lines: list[str] = []
    found = find(bundled("wine"), most_trials=3, clock=lambda: 0.0, say=lines.append)
    assert lines[0].startswith("trial   1  linear      log_loss 0.")
    assert "s left" in lines[0]
    assert lines[-1].startswith("fitting ")
    best = [p["value"] for p in found.history if p["key"] == "cv_log_loss_best"]
    assert best == sorted(best, reverse=True)
    assert {p["key"] for p in found.history} == {"cv_log_loss", "cv_log_loss_best"}
    assert found.scores["log_loss"] == min(best)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1", "roc_auc"])
def test_searches_by_any_metric_of_classification(metric: str, bundled: Any) -> None:
    found = find(bundled("wine"), metric=metric, most_trials=2, clock=lambda: 0.0)
    assert found.scores[metric] > 0.9


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_searches_by_any_metric_of_regression(metric: str, bundled: Any) -> None:
    found = find(bundled("diabetes"), "regression", metric=metric, most_trials=2, clock=lambda: 0.0)
    assert found.scores["r2"] > 0.4


def odd_tables() -> dict[str, pa.Table]:
    rng = np.random.default_rng(0)
    return {
        "nothing varies": pa.table({"a": [1.0] * 20, "s": ["x"] * 20, "target": [0, 1] * 10}),
        "only identifiers": pa.table(
            {"s": [f"u{i}" for i in range(20)], "target": ["a", "b"] * 10}
        ),
        "only nulls": pa.table({"a": pa.nulls(20, pa.float64()), "target": [0, 1] * 10}),
        "two rows": pa.table({"a": [0.0, 1.0], "target": ["a", "b"]}),
        "seven rows, a class of one": pa.table({"a": range(7), "target": list("aaabbbc")}),
        "wide": pa.table(
            {**{f"c{i}": rng.normal(size=40) for i in range(300)}, "target": [0, 1] * 20}
        ),
        "many texts": pa.table(
            {**{f"s{i}": rng.choice(list("abcdef"), 60) for i in range(40)}, "target": [0, 1] * 30}
        ),
        "booleans": pa.table({"a": [True, False, None, True] * 10, "target": [True, False] * 20}),
    }


@pytest.mark.parametrize("name", list(odd_tables()))
def test_odd_tables_give_a_model(name: str) -> None:
    table = odd_tables()[name]
    found = find(table, most_trials=2, clock=lambda: 0.0)
    assert len(found.pipeline.predict(table)) == table.num_rows
    assert found.pipeline.predict_proba(table).shape[0] == table.num_rows


def test_odd_regressions_give_a_model() -> None:
    table = pa.table(
        {"a": range(30), "s": ["x", None, ""] * 10, "target": [1e9 + i for i in range(30)]}
    )
    found = find(table, "regression", most_trials=4, clock=lambda: 0.0)
    assert found.pipeline.predict(table) == pytest.approx(
        table.column("target").to_numpy(), rel=1e-6
    )


def test_text_values_are_capped_and_rare_ones_left_out() -> None:
    rng = np.random.default_rng(0)
    values = [f"v{i}" for i in rng.zipf(1.3, 2000) % 500]
    matrix = TableInput(["s"], ["string"]).transform({"s": values})
    preparation = plan_preparation(matrix, slots_of(["s"], ["string"]))
    assert preparation.width == 32
    encoded = preparation.transformer(scaled=False).fit_transform(matrix)
    assert encoded.shape == (2000, 32)
    unseen = TableInput(["s"], ["string"]).transform({"s": ["never", ""]})
    fitted = preparation.transformer(scaled=False).fit(matrix)
    assert fitted.transform(unseen).sum() == 0


def problem(rows: int, labels: Any, task: str = "classification") -> Problem:
    matrix = np.arange(rows, dtype=np.float32)[:, None]
    plan = plan_preparation(matrix, [("a", False)])
    metric = "log_loss" if task == "classification" else "rmse"
    return Problem(matrix, np.asarray(labels), plan, Setting(task, 0, 1), metric, rows)


def test_folds_leave_every_row_out_once_and_keep_two_classes() -> None:
    folds = list(folds_of(problem(40, [0, 1] * 20)))
    assert len(folds) == 5
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(40))
    assert len(list(folds_of(problem(40, [0] * 38 + [1] * 2)))) == 2
    assert list(folds_of(problem(5, [0, 1, 0, 1, 0]))) == []
    lone = list(folds_of(problem(8, [0] * 7 + [1])))
    assert all(len(set(np.asarray([0] * 7 + [1])[train].tolist())) == 2 for train, _ in lone)


def test_a_fold_that_would_end_too_late_isnt_begun() -> None:
    task = problem(60, np.arange(60.0), "regression")
    clock = Working(2.0)
    search = Search(task, clock.score, Deadline.start(10.0, clock), lambda text: None)
    search.run()
    # Three folds took 6 s; a fourth and the final fit would end after 10 s.
    assert [(o.folds, o.complete) for o in search.outcomes] == [(3, False)]
    assert clock.now == 6.0


def outcome(number: int, *values: float, **named: Any) -> Outcome:
    return Outcome(number, Candidate("linear", {}, 1.0), values, {}, **named)


def test_trials_are_ranked_on_the_folds_that_they_share() -> None:
    complete = outcome(0, 1.0, 2.0, 3.0, complete=True)
    other = outcome(1, 2.0, 2.0, 2.1, complete=True)
    # Worse than the best complete one on its two folds, though its mean is lower.
    cut = outcome(2, 1.1, 2.1, complete=False)
    better = outcome(3, 0.5, 1.6, complete=False)
    thin = outcome(4, 0.1, complete=False, enough=False)
    pruned = outcome(5, 0.0, complete=False, pruned=True)
    found = ranked([pruned, thin, cut, other, complete, better], "rmse")
    assert [o.number for o in found] == [3, 0, 1, 2, 4, 5]
    assert [o.number for o in ranked([complete, other], "r2")] == [1, 0]
    assert [o.number for o in ranked([pruned, cut], "rmse")] == [2, 5]


def test_costs_are_learnt_by_family_and_scale_with_rows_and_weight() -> None:
    costs = Costs()
    small = Candidate("forest", {}, 10.0)
    assert costs.predict(small, 1000) == 0.0
    costs.observe(small, 100, 1.0)
    assert costs.predict(small, 100) == pytest.approx(1.3)
    assert costs.predict(Candidate("forest", {}, 20.0), 300) == pytest.approx(1.3 * 2 * 3**1.1)
    assert costs.predict(Candidate("forest", {}, 1.0), 100) == pytest.approx(1.3)
    assert costs.predict(Candidate("linear", {}, 1.0), 100) == pytest.approx(4.0)


def test_many_rows_are_searched_by_a_sample_that_keeps_every_class() -> None:
    rng = np.random.default_rng(0)
    label = np.where(rng.random(9000) < 0.5, "a", "b").astype(object)
    label[[17, 4000]] = "rare"
    table = pa.table({"x": rng.normal(size=9000), "target": label.tolist()})
    found = find(table, budget_s=1.0, most_trials=1, clock=lambda: 0.0)
    assert found.pipeline.classes_.tolist() == ["a", "b", "rare"]
    assert found.params["trials"] == 1
