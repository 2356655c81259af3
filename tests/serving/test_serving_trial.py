"""The controls of a deployment's page: ranges from rows, from the contract, or from nowhere."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.contract import ColumnRule, ColumnType
from volant.domain.model import Field, Signature, Tensors, TensorSpec
from volant.domain.statistics import (
    ColumnStatistics,
    Histogram,
    NumberStatistics,
    ValueCount,
)
from volant.serving.trial import controls, trained_controls
from volant.testing import samples


def of(*fields, rules=(), names=(), rows=()):
    signature = Signature(tuple(fields), (), "regression")
    return controls(signature, {rule.name: rule for rule in rules}, names, rows)


def test_numbers_have_the_range_of_the_rows():
    rows = [[1.2, "a"], [9.7, "b"], [None, "c"], [3.3, "d"], [math.nan, "e"]]
    (made,) = of(Field("x", "number", nullable=True), names=["x", "y"], rows=rows)
    assert made == {
        "name": "x",
        "type": "number",
        "nullable": True,
        "seen": 4,
        "min": 1.2,
        "max": 9.7,
        "step": 0.05,
        "value": 3.3,
    }


@pytest.mark.parametrize(
    ("rule", "low", "high"),
    [
        (None, 0, 10),
        (ColumnRule("n", ColumnType.INTEGER, min=3, max=7), 3, 7),
        (ColumnRule("n", ColumnType.INTEGER, min=5), 5, 15),
        (ColumnRule("n", ColumnType.INTEGER, max=5), -5, 5),
        (ColumnRule("n", ColumnType.INTEGER, min=5, max=5), 4, 6),
    ],
)
def test_without_rows_the_contract_tells(rule, low, high):
    (made,) = of(Field("n", "integer"), rules=[rule] if rule else [])
    assert (made["min"], made["max"], made["step"], made["seen"]) == (low, high, 1, 0)
    assert low <= made["value"] <= high


def test_texts_are_chosen_from_what_was_seen():
    rows = [["red"], ["white"], ["red"], ["red"], ["white"], ["red"]]
    (made,) = of(Field("color", "string"), names=["color"], rows=rows)
    assert (made["values"], made["value"]) == (["red", "white"], "red")


def test_texts_of_the_contract_win():
    rule = ColumnRule("color", ColumnType.STRING, values=("red", "white", "pink"))
    (made,) = of(Field("color", "string"), rules=[rule], names=["color"], rows=[["white"]])
    assert (made["values"], made["value"]) == (["red", "white", "pink"], "white")


def test_free_texts_are_written():
    rows = [[f"text {n}"] for n in range(300)]
    (made,) = of(Field("words", "string"), names=["words"], rows=rows)
    assert "values" not in made
    assert len(made["suggestions"]) == 100
    (unseen,) = of(Field("words", "string"))
    assert (unseen["suggestions"], unseen["value"]) == ([], "")


def test_booleans():
    (made,) = of(Field("b", "boolean"), names=["b"], rows=[[True], [True], [False]])
    assert made["value"] is True


@pytest.mark.parametrize(
    ("datatype", "shape", "names"),
    [
        ("FP32", (-1, 3), ["X[0]", "X[1]", "X[2]"]),
        ("INT64", (-1, 1), ["X[0]"]),
        ("FP32", (-1, 3, 3), []),
        ("FP32", (-1, -1), []),
        ("BYTES", (-1, 2), []),
        ("FP32", (-1, 5000), []),
    ],
)
def test_a_matrix_has_places_for_columns(datatype, shape, names):
    tensors = Tensors((TensorSpec("X", datatype, shape),), ())
    made = controls(Signature((), (), "tensors", None, tensors), {}, (), ())
    assert [each["name"] for each in made] == names


def trained(field, **column):
    told = ColumnStatistics(field.name, field.type, **{"missing": 0, **column})
    signature = Signature((field,), (), "regression")
    (made,) = trained_controls(signature, samples.training_statistics(columns=(told,)))
    return made


def numbers(low, middle, high):
    bins = Histogram((float(high),), (3,))
    return NumberStatistics(float(low), float(high), middle, 1.0, {"p50": float(middle)}, bins)


def texts(*counted):
    return tuple(ValueCount(value, count) for value, count in counted)


def test_numbers_have_the_range_of_the_training_data():
    known = {"count": 9, "distinct": 3}
    made = trained(Field("n", "integer", nullable=True), numbers=numbers(1, 3, 9), **known)
    assert made == {
        "name": "n",
        "type": "integer",
        "nullable": True,
        "seen": 9,
        "min": 1,
        "max": 9,
        "step": 1,
        "value": 3,
    }
    assert isinstance(made["value"], int)
    unseen = trained(Field("n", "number"), count=0, distinct=0)
    assert (unseen["min"], unseen["max"], unseen["value"], unseen["seen"]) == (0, 10, 5, 0)


def test_a_column_that_has_no_statistics_has_a_control():
    signature = Signature((Field("other", "number"), Field("t", "string")), (), "regression")
    made = trained_controls(signature, samples.training_statistics())
    assert [each["seen"] for each in made] == [0, 0]
    assert (made[0]["max"], made[1]["suggestions"]) == (10, [])


def test_texts_of_the_training_data():
    field = Field("t", "string")
    few = trained(field, count=5, distinct=2, values=texts(("white", 3), ("red", 2)))
    assert (few["values"], few["value"]) == (["red", "white"], "white")
    many = trained(field, count=50, distinct=9, values=texts(("unknown", 20)))
    assert (many["suggestions"], many["value"]) == (["unknown"], "unknown")
    assert "values" not in many
    names = trained(field, count=50, distinct=50)
    assert (names["suggestions"], names["value"]) == ([], "")


def test_booleans_and_moments_of_the_training_data():
    ticked = trained(Field("b", "boolean"), count=3, distinct=2, values=texts((True, 2)))
    assert ticked["value"] is True
    assert trained(Field("b", "boolean"), count=0, distinct=0)["value"] is False
    when = trained(Field("w", "timestamp"), count=3, distinct=1, numbers=numbers(0, 60, 90))
    assert when["value"] == "1970-01-01T00:01:00+00:00"
    assert when["suggestions"] == [when["value"]]
    never = trained(Field("w", "timestamp"), count=1, distinct=1, numbers=numbers(0, 1e300, 1e300))
    assert (never["value"], never["suggestions"]) == ("", [])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.booleans())
def test_any_range_makes_a_slider(values, whole):
    values.sort()
    kind = "integer" if whole else "number"
    told = numbers(values[0], values[len(values) // 2], values[-1])
    made = trained(Field("x", kind), count=len(values), distinct=1, numbers=told)
    assert made["min"] < made["max"]
    assert made["step"] > 0
    assert math.isfinite(made["max"] - made["min"])
    json.dumps(made, allow_nan=False)


NUMBERS = st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.booleans())
def test_the_value_lies_in_the_range_and_the_range_holds_the_rows(values, whole):
    if whole:
        values = [round(value) for value in values]
    kind = "integer" if whole else "number"
    (made,) = of(Field("x", kind), names=["x"], rows=[[value] for value in values])
    slack = 1e-6 * max(map(abs, values)) + made["step"] * 1e-6
    assert made["min"] < made["max"]
    assert made["min"] <= min(values) + slack
    assert made["max"] >= max(values) - slack
    assert made["min"] - slack <= made["value"] <= made["max"] + slack
    assert made["step"] > 0
