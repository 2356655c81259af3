"""Columns in another order than the model's give themselves away by their values."""

from __future__ import annotations

import random

import pytest

from volant.serving.feature_order import order_report

RANGES = {"pH": (2.8, 3.8), "sulfur": (10, 270), "alcohol": (7, 15), "density": (0.98, 1.01)}
CONTROLS = [
    {"name": name, "type": "number", "nullable": False, "seen": 100, "min": low, "max": high}
    for name, (low, high) in RANGES.items()
]
NAMES = list(RANGES)


def rows(order, count=50):
    chance = random.Random(7)
    return [[chance.uniform(*RANGES[name]) for name in order] for _ in range(count)]


def test_the_models_order_is_right():
    report = order_report(CONTROLS, rows(NAMES))
    assert (report["verdict"], report["order"], report["rows"]) == ("right", None, 50)
    assert all(each["inside"] == 1 for each in report["columns"])


def test_sorted_columns_are_recognised():
    report = order_report(CONTROLS, rows(sorted(NAMES, key=str.casefold)))
    assert report["verdict"] == "order"
    assert report["order"] == sorted(NAMES, key=str.casefold)
    assert "alphabetical" in report["told"]


def test_columns_backwards_are_recognised():
    report = order_report(CONTROLS, rows(NAMES[::-1]))
    assert report["verdict"] == "order"
    assert "backwards" in report["told"]


def test_two_exchanged_columns_are_named():
    report = order_report(CONTROLS, rows(["density", "sulfur", "alcohol", "pH"]))
    assert report["verdict"] == "order"
    by_name = {each["name"]: each for each in report["columns"]}
    assert by_name["pH"]["look_like"][0] == "density"
    assert by_name["density"]["look_like"][0] == "pH"
    assert by_name["sulfur"]["inside"] == 1


def test_one_column_outside_is_no_other_order():
    sent = [[row[0], 10_000, *row[2:]] for row in rows(NAMES)]
    report = order_report(CONTROLS, sent)
    assert report["verdict"] == "outside"
    assert "sulfur" in report["told"]


def test_a_little_beyond_is_inside():
    sent = [[row[0], 280, *row[2:]] for row in rows(NAMES)]
    assert order_report(CONTROLS, sent)["verdict"] == "right"


@pytest.mark.parametrize("sent", [[], [[None] * 4], [["a", "b", "c", "d"]], [[]]])
def test_nothing_to_judge(sent):
    assert order_report(CONTROLS, sent)["verdict"] == "right"


def test_ranges_that_nobody_saw_judge_nothing():
    blind = [{**control, "seen": 0} for control in CONTROLS]
    report = order_report(blind, rows(NAMES[::-1]))
    assert (report["verdict"], report["columns"]) == ("right", [])
