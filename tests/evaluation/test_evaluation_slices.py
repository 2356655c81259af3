"""Groups of rows: who belongs to which, and what the gate says of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.loop import ChampionRule, GateSpec, SliceRule
from volant.errors import InvalidInput
from volant.evaluation.gate import Champion, decide
from volant.evaluation.metrics import Judged, judge, scores
from volant.evaluation.slices import MOST_GROUPS, groups_of, measured, within

ROWS = 200
TRUTH = np.random.default_rng(7).normal(size=ROWS)
COLOR = np.where(np.arange(ROWS) % 4 == 0, "red", "white")
HOLDOUT = pa.table({"color": COLOR, "size": TRUTH, "target": TRUTH})


def said(red: float, white: float) -> Judged:
    """Wrong by `red` where the color is red, by `white` elsewhere."""
    return judge("regression", TRUTH, TRUTH + np.where(COLOR == "red", red, white))


def verdict(challenger: Judged, champion: Judged | None, **rule):
    gate = GateSpec((), None, (SliceRule("color", **rule),))
    beside = None if champion is None else Champion("v1", "regression", champion)
    return decide(gate, "rmse", challenger, beside, 0, {"color": groups_of(HOLDOUT, "color")})


def names(column, values) -> list[str]:
    return [group.name for group in groups_of(pa.table({column: values}), column)]


def test_the_groups_of_texts_booleans_and_few_numbers():
    assert names("c", ["b", "a", "a", None]) == ["c = a", "c = b", "c is missing"]
    assert names("c", [True, True, False]) == ["c = True", "c = False"]
    assert names("c", [3, 3, 1]) == ["c = 3", "c = 1"]


def test_many_numbers_are_quarters_and_many_texts_have_a_rest():
    groups = groups_of(pa.table({"x": list(range(100))}), "x")
    assert [int(group.rows.sum()) for group in groups] == [25, 25, 25, 25]
    assert groups[0].name == "x ≤ 24.75"
    assert groups[1].name == "24.75 < x ≤ 49.5"
    many = groups_of(pa.table({"t": [f"t{i}" for i in range(50)]}), "t")
    assert len(many) == MOST_GROUPS + 1
    assert many[-1].name == "t: 30 other values"


@given(
    st.one_of(
        st.lists(st.none() | st.floats(width=32)),
        st.lists(st.none() | st.text(max_size=3)),
        st.lists(st.none() | st.integers(-9, 99)),
    )
)
def test_every_row_is_in_exactly_one_group(values):
    groups = groups_of(pa.table({"c": values}), "c")
    counted = sum((group.rows.astype(int) for group in groups), np.zeros(len(values), int))
    assert counted.tolist() == [1] * len(values)


def test_an_unknown_column_is_told_with_the_nearest():
    with pytest.raises(InvalidInput, match="colour") as caught:
        groups_of(HOLDOUT, "colour")
    assert "'color'" in caught.value.fix


def test_a_model_that_is_better_on_the_whole_and_worse_for_some_is_refused():
    champion, challenger = said(0.5, 1.0), said(0.9, 0.2)
    assert scores(challenger)["rmse"] < scores(champion)["rmse"]
    found = verdict(challenger, champion, max_regression=0.02)
    assert not found.passed
    assert "color = red (0.9 against 0.5, worse by 0.4, 50 rows)" in found.reason
    assert found.rules[0]["worst"] == pytest.approx(0.4)
    assert verdict(challenger, champion, max_regression=0.5).passed


def test_small_groups_are_measured_and_not_judged():
    found = verdict(said(0.9, 0.2), said(0.5, 1.0), min_rows=51)
    assert found.passed
    assert found.rules[0]["groups"] == 1
    told = measured(said(0.9, 0.2), groups_of(HOLDOUT, "color"))
    assert told["color = red"]["rows"] == 50
    assert told["color = red"]["rmse"] == pytest.approx(0.9)


def test_without_a_champion_there_is_nothing_to_be_worse_than():
    found = verdict(said(1, 1), None)
    assert found.passed
    assert found.rules[0]["skipped"]


def test_the_rules_stand_in_their_order():
    gate = GateSpec((), ChampionRule(), (SliceRule("color"),))
    champion = Champion("v1", "regression", said(1, 1))
    groups = {"color": groups_of(HOLDOUT, "color")}
    found = decide(gate, "rmse", said(0.5, 0.5), champion, 0, groups)
    assert [rule["rule"] for rule in found.rules] == ["champion", "slice"]


def test_probabilities_are_cut_with_their_rows():
    chances = np.tile([0.25, 0.75], (ROWS, 1))
    whole = judge("classification", ["a", "b"] * (ROWS // 2), ["b"] * ROWS, chances, ["a", "b"])
    group = groups_of(HOLDOUT, "color")[0]
    part = within(whole, group)
    assert part.rows == int(group.rows.sum())
    assert part.probabilities.shape == (part.rows, 2)
