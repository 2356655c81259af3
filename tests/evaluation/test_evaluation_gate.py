from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.loop import ChampionRule, GateSpec, Threshold
from volant.domain.metric import GREATER_IS_BETTER
from volant.errors import InvalidInput
from volant.evaluation.bootstrap import paired_gain
from volant.evaluation.gate import Champion, decide, gate_from
from volant.evaluation.metrics import Judged, judge


def values(noise: float, seed: int = 0, rows: int = 200) -> Judged:
    truth = np.random.default_rng(7).normal(size=rows)
    return judge("regression", truth, truth + noise * np.random.default_rng(seed).normal(size=rows))


def labels(share: float, rows: int = 200) -> Judged:
    """Right on the first `share` of the rows, with a probability of 0.8."""
    truth = np.arange(rows) % 2
    predicted = np.where(np.arange(rows) < share * rows, truth, 1 - truth)
    chances = np.where(np.eye(2)[predicted] == 1, 0.8, 0.2)
    return judge("classification", truth, predicted, chances, [0, 1])


BETTER, WORSE = labels(0.95), labels(0.7)


@pytest.mark.parametrize("metric", list(GREATER_IS_BETTER))
def test_a_gain_is_positive_when_the_challenger_is_better(metric: str) -> None:
    regression = metric in ("rmse", "mae", "r2")
    good, bad = (values(0.1), values(1.0, 1)) if regression else (BETTER, WORSE)
    gain = paired_gain(metric, good, bad, confidence=0.95, seed=0)
    assert gain.lower_bound > 0
    assert gain.observed >= gain.lower_bound
    loss = paired_gain(metric, bad, good, confidence=0.95, seed=0)
    assert loss.observed == pytest.approx(-gain.observed)
    assert loss.lower_bound < 0


def test_equal_models_gain_exactly_nothing() -> None:
    gain = paired_gain("log_loss", BETTER, BETTER, confidence=0.95, seed=0)
    assert (gain.observed, gain.lower_bound) == (0.0, 0.0)


def test_the_seed_fixes_the_bound_and_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = paired_gain("rmse", values(0.5), values(0.6, 1), confidence=0.9, seed=3)
    assert one == paired_gain("rmse", values(0.5), values(0.6, 1), confidence=0.9, seed=3)
    monkeypatch.setattr("volant.evaluation.bootstrap._CELLS", 200 * 64)
    assert one == paired_gain("rmse", values(0.5), values(0.6, 1), confidence=0.9, seed=3)
    other = paired_gain("rmse", values(0.5), values(0.6, 1), confidence=0.9, seed=4)
    assert other.lower_bound != one.lower_bound


def test_the_bound_agrees_with_the_normal_approximation() -> None:
    """For a mean of differences, the bound is near mean - 1.645 standard errors."""
    challenger, champion = values(0.8, 1, 2000), values(1.0, 2, 2000)
    difference = np.abs(champion.truth - champion.predicted) - np.abs(
        challenger.truth - challenger.predicted
    )
    expected = difference.mean() - 1.645 * difference.std() / np.sqrt(2000)
    gain = paired_gain("mae", challenger, champion, confidence=0.95, seed=0)
    assert gain.lower_bound == pytest.approx(expected, abs=0.15 * difference.std() / np.sqrt(2000))


@settings(deadline=None, max_examples=20)
@given(st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_more_confidence_never_raises_the_bound(one: float, other: float) -> None:
    low, high = sorted((one, other))
    bounds = [
        paired_gain("accuracy", labels(0.8), labels(0.7), confidence=c, seed=0, resamples=200)
        for c in (low, high)
    ]
    assert bounds[1].lower_bound <= bounds[0].lower_bound


def test_models_of_other_rows_are_no_pair() -> None:
    with pytest.raises(ValueError, match="not a pair"):
        paired_gain("mae", values(1, rows=5), values(1, rows=6), confidence=0.9, seed=0)


def verdict(
    challenger: Judged, rival: Champion | None, metric: str = "log_loss", **gate: Any
) -> Any:
    return decide(GateSpec(**gate), metric, challenger, rival, seed=0)


def test_without_a_champion_the_thresholds_decide() -> None:
    passed = verdict(BETTER, None, thresholds=(Threshold("accuracy", min=0.9),))
    assert passed.passed
    assert [r["rule"] for r in passed.rules] == ["threshold", "champion"]
    assert passed.reason == (
        "accuracy 0.95 is ≥ 0.9; log_loss 0.2925, and there is no champion yet to compare with."
    )
    failed = verdict(WORSE, None, thresholds=(Threshold("accuracy", min=0.9),))
    assert not failed.passed
    assert failed.reason == "accuracy 0.7 is below the minimum 0.9."
    high = verdict(WORSE, None, thresholds=(Threshold("log_loss", max=0.4, min=0.0),))
    assert "is above the maximum 0.4" in high.reason


def test_the_champion_is_beaten_with_confidence() -> None:
    accepted = verdict(BETTER, Champion("v1", "classification", WORSE))
    assert accepted.passed
    rule = accepted.rules[0]
    assert rule["gain"] == pytest.approx(rule["champion_value"] - rule["value"])
    assert rule["lower_bound"] >= 0
    assert rule["rows"] == 200
    assert accepted.reason.startswith("log_loss 0.2925 beats the champion's 0.639 (v1) by 0.3466; ")
    assert "95 % lower bound of the gain +0." in accepted.reason
    assert accepted.reason.endswith("≥ 0.")
    refused = verdict(WORSE, Champion("v2", "classification", BETTER))
    assert not refused.passed
    assert "loses to the champion's" in refused.reason
    assert refused.reason.endswith("< 0.")


def test_better_by_asks_for_more_or_tolerates_a_loss() -> None:
    champion = Champion("v1", "classification", WORSE)
    assert not verdict(BETTER, champion, champion=ChampionRule(better_by=0.5)).passed
    worse = Champion("v1", "classification", BETTER)
    tolerant = verdict(WORSE, worse, champion=ChampionRule(better_by=-1.0))
    assert tolerant.passed
    assert tolerant.reason.endswith("≥ -1.")


def test_the_same_model_again_equals_the_champion() -> None:
    again = verdict(BETTER, Champion("v1", "classification", BETTER))
    assert again.passed
    assert "equals the champion's" in again.reason


def test_all_rules_are_judged_and_failures_told_together() -> None:
    found = verdict(
        WORSE,
        Champion("v1", "classification", BETTER),
        thresholds=(Threshold("accuracy", min=0.9), Threshold("f1", min=0.1), Threshold("f1")),
    )
    assert [r["passed"] for r in found.rules] == [False, True, True, False]
    assert "below the minimum" in found.reason
    assert "loses to" in found.reason
    assert "f1" not in found.reason
    assert "has no bound" in found.rules[2]["reason"]


def test_a_champion_that_cant_be_scored_stops_the_challenger() -> None:
    found = verdict(BETTER, Champion("v1", "classification", problem="EOFError: no more bytes"))
    assert not found.passed
    assert "nothing shows that this model is better: EOFError" in found.reason
    assert found.reason.startswith("The champion (v1)")


def test_a_champion_of_another_task_isnt_compared() -> None:
    found = verdict(BETTER, Champion("v1", "regression"))
    assert found.passed
    assert found.rules[0]["skipped"]


def test_what_cant_be_computed_isnt_passed() -> None:
    bare = judge("classification", [0, 1, 0, 1], [0, 1, 0, 1])
    found = verdict(bare, Champion("v1", "classification", bare))
    assert not found.passed
    assert "can't be compared" in found.reason
    threshold = verdict(bare, None, thresholds=(Threshold("roc_auc", min=0.5),))
    assert not threshold.passed
    assert "can't be computed" in threshold.reason


def test_no_rules_accept_and_say_so() -> None:
    found = verdict(BETTER, None, champion=None)
    assert found.passed
    assert found.reason == "The gate has no rules: accepted."


@pytest.mark.parametrize(
    ("metric", "threshold", "fix"),
    [("log_loss", "acuracy", "Did you mean 'accuracy'"), ("rmse", "accuracy", "Use one of")],
)
def test_an_unknown_metric_is_named(metric: str, threshold: str, fix: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        verdict(BETTER, None, metric, thresholds=(Threshold(threshold, min=0),))
    assert fix in caught.value.fix


def test_a_gate_survives_its_plain_form() -> None:
    for gate in (
        GateSpec(),
        GateSpec((Threshold("f1", min=0.1),), ChampionRule(-0.1, 0.9)),
        GateSpec(champion=None),
    ):
        plain = asdict(gate)
        plain["thresholds"] = list(plain["thresholds"])
        assert gate_from(plain) == gate
    assert gate_from({}) == GateSpec()
