from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from volant.domain.metric import TASK_METRICS
from volant.evaluation.metrics import judge, score, scores, weighted


def drawn(classes: int, rows: int, seed: int) -> tuple[Any, Any, Any, list[str]]:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(classes)]
    chances = np.round(rng.dirichlet(np.ones(classes), rows), 2) + 0.01  # rounded: ties
    chances /= chances.sum(axis=1, keepdims=True)
    truth = np.array(names, dtype=object)[rng.integers(0, classes, rows)]
    truth[:classes] = names
    return truth, np.array(names, dtype=object)[chances.argmax(axis=1)], chances, names


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(10, 80), st.integers(0, 10_000))
def test_classification_agrees_with_scikit_learn(classes: int, rows: int, seed: int) -> None:
    truth, predicted, chances, names = drawn(classes, rows, seed)
    found = score("classification", truth, predicted, chances, names)
    area = chances[:, 1] if classes == 2 else chances
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "f1": reference.f1_score(truth, predicted, average="macro"),
        "roc_auc": reference.roc_auc_score(truth, area, multi_class="ovr", labels=names),
        "log_loss": reference.log_loss(truth, chances, labels=names),
    }
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 60), st.integers(0, 10_000), st.floats(-1e6, 1e6))
def test_regression_agrees_with_scikit_learn(rows: int, seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows) + offset
    predicted = truth + rng.normal(size=rows)
    expected = {
        "rmse": reference.root_mean_squared_error(truth, predicted),
        "mae": reference.mean_absolute_error(truth, predicted),
        "r2": reference.r2_score(truth, predicted),
    }
    assert score("regression", truth, predicted) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 4), st.integers(0, 10_000), st.sampled_from(TASK_METRICS["classification"]))
def test_a_weight_is_a_count_of_rows(classes: int, seed: int, name: str) -> None:
    truth, predicted, chances, names = drawn(classes, 30, seed)
    counts = np.random.default_rng(seed).integers(0, 3, 30)
    rows = np.repeat(np.arange(30), counts)
    judged = judge("classification", truth, predicted, chances, names)
    repeated = judge("classification", truth[rows], predicted[rows], chances[rows], names)
    one = weighted(name, judged, counts[None, :].astype(float))[0]
    other = weighted(name, repeated, np.ones((1, len(rows))))[0]
    if name == "roc_auc" and not (np.isfinite(one) and np.isfinite(other)):
        return  # a class that wasn't drawn
    assert one == pytest.approx(other)


def test_labels_are_one_whatever_their_type() -> None:
    found = score("classification", [True, False, True], np.array([1, 0, 0]))
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_one_class_in_the_rows_leaves_roc_auc_out() -> None:
    chances = np.array([[0.2, 0.8], [0.4, 0.6]])
    found = score("classification", ["b", "b"], ["b", "b"], chances, ["a", "b"])
    assert "roc_auc" not in found
    assert found["accuracy"] == found["balanced_accuracy"] == found["f1"] == 1.0
    assert found["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)


def test_a_class_absent_from_the_rows_counts_for_nothing() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    found = score("classification", ["a", "b"], ["a", "b"], chances, ["a", "b", "c"])
    assert found["roc_auc"] == found["f1"] == found["balanced_accuracy"] == 1.0


def test_a_label_that_the_model_doesnt_know_costs_the_most() -> None:
    chances = np.array([[0.5, 0.5], [1.0, 0.0]])
    found = score("classification", ["z", "a"], ["a", "a"], chances, ["a", "b"])
    assert found["accuracy"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps) / 2)


def test_without_probabilities_what_needs_them_is_left_out() -> None:
    assert set(score("classification", [0, 1], [0, 0])) == {"accuracy", "balanced_accuracy", "f1"}


def test_a_constant_truth_has_no_r2_and_no_rows_have_nothing() -> None:
    assert set(score("regression", [1e9, 1e9], [1.0, 2.0])) == {"rmse", "mae"}
    assert scores(judge("regression", [], [])) == {}
