"""The search language: what it reads, and what it says of what it can't read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.query import (
    Comparison,
    MeasuredOn,
    Order,
    named_order,
    parse_filter,
    parse_order,
)
from volant.errors import InvalidInput
from volant.tracking.vocabularies import EXPERIMENTS, RUNS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.rmse < 0.7", Comparison("metric", "rmse", "<", 0.7)),
        ("metric.`a b/c` >= 1e-3", Comparison("metric", "a b/c", ">=", 0.001)),
        ('metrics."m-1" != -2', Comparison("metric", "m-1", "!=", -2)),
        ("params.depth = '3'", Comparison("param", "depth", "=", "3")),
        ('parameters.depth = "3"', Comparison("param", "depth", "=", "3")),
        ("tags.mlflow.parentRunId = 'x'", Comparison("tag", "mlflow.parentRunId", "=", "x")),
        ("tag.k ILIKE '%V%'", Comparison("tag", "k", "ILIKE", "%V%")),
        ("tags.k is not null", Comparison("tag", "k", "IS NOT NULL", None)),
        ("attributes.status != 'FAILED'", Comparison("attribute", "status", "!=", "FAILED")),
        ("start_time > 10", Comparison("attribute", "start_time", ">", 10)),
        ("attr.`run name` = 'a'", Comparison("attribute", "run_name", "=", "a")),
        ("run_id in ('a', 'b')", Comparison("attribute", "run_id", "IN", ("a", "b"))),
        ("run_id NOT IN ('a')", Comparison("attribute", "run_id", "NOT IN", ("a",))),
        ("dataset.name = 'it''s'", Comparison("dataset", "name", "=", "it's")),
    ],
)
def test_one_comparison(text: str, expected: Comparison) -> None:
    assert parse_filter(text, RUNS) == (expected,)


def test_several_joined_by_and_and_none() -> None:
    found = parse_filter("metrics.a > 1 AND params.b LIKE 'x' and tags.c = ''", RUNS)
    assert [(each.entity, each.op) for each in found] == [
        ("metric", ">"),
        ("param", "LIKE"),
        ("tag", "="),
    ]
    assert parse_filter("  ", RUNS) == parse_filter(None, RUNS) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics.rmse ~ 3", "can't be read"),
        ("metrics.rmse < 'a'", "expected a number for metrics.rmse"),
        ("params.depth = 3", "expected a quoted string"),
        ("params.depth > '3'", "> doesn't go with params.depth"),
        ("metrics.a = 1 OR metrics.b = 1", "joined by AND"),
        ("metrics.a = 1 AND", "expected a name"),
        ("foo.bar = 1", "Invalid entity type 'foo'"),
        ("attributes.stats = 'x'", "Invalid attribute key 'stats'"),
        ("dataset.size = 'x'", "Invalid dataset key 'size'"),
        ("status IS NULL", "IS NULL is for params and tags"),
        ("run_id IN ('a'", "isn't closed"),
        ("run_id IN 'a'", "expected a list"),
        ("metrics.a IN ('a')", "IN doesn't go"),
        ("tags.a NOT LIKE 'x'", "NOT goes with IN"),
        ("x" * 20_001, "20001 characters"),
        (" AND ".join(["metrics.a = 1"] * 201), "more than 200"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text, RUNS)
    assert told in caught.value.what


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter("attributes.stats = 'x'", RUNS)
    assert "Did you mean status?" in caught.value.fix


def test_orders() -> None:
    wanted = ["metrics.rmse DESC", "params.`a b`", "start_time asc", "attributes.Created desc"]
    assert parse_order(wanted, RUNS) == (
        Order("metric", "rmse", descending=True),
        Order("param", "a b"),
        Order("attribute", "start_time"),
        Order("attribute", "start_time", descending=True),
    )
    assert parse_order(["name DESC"], EXPERIMENTS) == (Order("attribute", "name", True),)
    with pytest.raises(InvalidInput):
        parse_order(["metrics.a sideways"], RUNS)


def test_an_order_by_a_name_that_stands_alone() -> None:
    on = MeasuredOn("iris", "1")
    assert named_order("metrics.a b/c", RUNS, on=on) == Order("metric", "a b/c", on=on)
    assert named_order("metrics.`a b`", RUNS, descending=True) == Order("metric", "a b", True)
    for name in ("", "`", '"name', "nothing", "metrics", "a" * 20_001):
        with pytest.raises(InvalidInput):
            named_order(name, RUNS)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_filter(text, RUNS)
        parse_order([text], RUNS)
    except InvalidInput:
        pass
    with suppress(InvalidInput):
        named_order(text, RUNS)


@given(st.text(st.characters(exclude_characters="`\n"), min_size=1), st.text())
def test_a_key_and_a_value_come_through(key: str, value: str) -> None:
    quoted = value.replace("'", "''")
    found = parse_filter(f"params.`{key}` = '{quoted}'", RUNS)
    assert found == (Comparison("param", key, "=", value),)
