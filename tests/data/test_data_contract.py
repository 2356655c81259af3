"""Every row is good or has its reasons, never both."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.data.contract import align, check
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.errors import InvalidInput


def contract(*rules: ColumnRule) -> Contract:
    return Contract(rules)


def rule(name: str, kind: str, **more: Any) -> ColumnRule:
    return ColumnRule(name, ColumnType(kind), **more)


def text_table(**columns: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_sentences_tell_value_and_rule() -> None:
    rules = contract(
        rule("radius_mean", "number", min=0.0, max=100.0, nullable=False),
        rule("grade", "integer", values=(1, 2, 3)),
        rule("color", "string", values=("red", "white")),
    )
    table = text_table(
        radius_mean=["-3", "1e9", "", "abc", "7.5"],
        grade=["1", "9", "2.0", None, "3"],
        color=["red", "pink", "white", None, "red"],
    )
    result = check(table, rules)
    assert result.reasons == {
        0: ("radius_mean = -3 is below the minimum 0",),
        1: (
            "radius_mean = 1e9 is above the maximum 100",
            "grade = 9 is not one of 1, 2, 3",
            "color = 'pink' is not one of 'red', 'white'",
        ),
        2: ("radius_mean is missing",),
        3: ("radius_mean = 'abc' is not a number",),
    }
    assert result.good.to_pylist() == [{"radius_mean": 7.5, "grade": 3, "color": "red"}]
    assert result.good_rows.tolist() == [4]
    assert result.counts["radius_mean is below the minimum 0"] == 1


def test_types_only_asks_for_types() -> None:
    rules = contract(rule("x", "number", min=0.0, nullable=False, unique=True))
    result = check(text_table(x=["-3", "-3", "", "abc"]), rules, types_only=True)
    assert result.good.to_pylist() == [{"x": -3.0}, {"x": -3.0}, {"x": None}]
    assert list(result.reasons) == [3]


def test_unique_looks_at_good_rows_and_at_the_dataset() -> None:
    rules = contract(rule("id", "integer", unique=True), rule("x", "number", min=0.0))
    table = text_table(
        id=["1", "1", "1", "2", None, None, "5"], x=["-1", "1", "2", "3", "4", "5", "6"]
    )
    result = check(table, rules, {"id": pa.chunked_array([pa.array([2, None, 9])])})
    assert result.good_rows.tolist() == [1, 4, 5, 6]
    assert result.reasons == {
        0: ("x = -1 is below the minimum 0",),
        2: ("id = 1 is in this push before",),
        3: ("id = 2 is in the dataset already",),
    }


def test_sets_of_other_types() -> None:
    rules = contract(rule("b", "boolean", values=(True,)), rule("n", "number", values=(0.5, 1)))
    result = check(text_table(b=["yes", "no"], n=["0.50", "1"]), rules)
    assert result.good_rows.tolist() == [0]
    assert result.reasons == {1: ("b = 'no' is not one of true",)}


def test_columns_in_another_order_are_lined_up() -> None:
    rules = contract(rule("a", "string"), rule("b", "string"), rule("c", "string"))
    table, warnings = align(text_table(b=["2"], a=["1"]), rules, "f.csv")
    assert table.column_names == ["a", "b", "c"]
    assert check(table, rules).good.to_pylist() == [{"a": "1", "b": "2", "c": None}]
    assert warnings == ["f.csv lacks 'c': filled with nulls."]


def test_unknown_and_missing_columns_name_the_nearest() -> None:
    rules = contract(rule("radius_mean", "number", nullable=False), rule("b", "string"))
    with pytest.raises(InvalidInput) as caught:
        align(text_table(Radius_men=["1"], b=["x"]), rules, "f.csv")
    assert "'Radius_men'" in caught.value.what
    assert "'radius_mean' for 'Radius_men'" in caught.value.fix
    with pytest.raises(InvalidInput, match="lacks the column 'radius_mean'"):
        align(text_table(b=["x"]), rules, "f.csv")


values = st.none() | st.sampled_from(
    ["", "1", "2", "3", "-5", "1e9", "x", "true", "2030-01-01", "NA", "0.5"]
)
rules = st.builds(
    ColumnRule,
    name=st.just("?"),
    type=st.sampled_from(ColumnType),
    nullable=st.booleans(),
    min=st.none() | st.just(0.0),
    max=st.none() | st.just(2.0),
    values=st.none() | st.just(("1", "x")),
    unique=st.booleans(),
)


@given(st.data(), st.integers(1, 3), st.integers(0, 12), st.booleans())
def test_every_row_is_in_exactly_one_place(
    data: st.DataObject, width: int, height: int, types_only: bool
) -> None:
    given_rules: list[ColumnRule] = []
    columns: dict[str, list[str | None]] = {}
    for index in range(width):
        one = data.draw(rules)
        given_rules.append(
            ColumnRule(
                f"c{index}", one.type, one.nullable, one.min, one.max, one.values, one.unique
            )
        )
        columns[f"c{index}"] = data.draw(st.lists(values, min_size=height, max_size=height))
    table = text_table(**columns)
    result = check(table, Contract(tuple(given_rules)), types_only=types_only)
    assert sorted([*result.good_rows.tolist(), *result.reasons]) == list(range(height))
    assert result.good.num_rows == len(result.good_rows)
    assert all(result.reasons.values())
    again = check(result.good, Contract(tuple(given_rules)), types_only=types_only)
    text_sets = any(r.values and r.type is not ColumnType.STRING for r in given_rules)
    if not text_sets:
        assert again.good.to_pylist() == result.good.to_pylist()
