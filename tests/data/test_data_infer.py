"""Rules read off a first delivery: broken cells aren't the rule, tails aren't broken."""

import numpy as np
import pyarrow as pa
import pytest

from volant.data.contract import check
from volant.data.infer import infer_contract
from volant.domain.contract import ColumnRule, ColumnType

RANDOM = np.random.default_rng(3)


def rule_of(values: list[object], name: str = "x") -> ColumnRule:
    column = (
        pa.array(values)
        if values and not isinstance(values[0], str)
        else pa.array([None if v is None else str(v) for v in values], pa.string())
    )
    contract = infer_contract(pa.table({name: column}))
    assert contract.inferred
    return contract.columns[0]


def quarantined(values: list[object], name: str = "x") -> list[object]:
    column = pa.array([None if v is None else str(v) for v in values], pa.string())
    table = pa.table({name: column})
    return [values[index] for index in check(table, infer_contract(table)).reasons]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "3"], "integer"),
        (["1", "2.5", "3"], "number"),
        (["1.0", "2.0"], "number"),
        (["01234", "04567", "90210"], "string"),
        (["true", "False"], "boolean"),
        (["yes", "no"], "string"),
        (["2030-01-01", "2030-01-02T10:00:00Z"], "timestamp"),
        (["a", "1", "2"], "string"),
        (["", "NA", ""], "string"),
        (["12345678901234567890"] * 3, "string"),
        ([1.5, None], "number"),
        ([True, False], "boolean"),
        (["1"] * 95 + ["broken"] * 5, "integer"),
        (["1"] * 94 + ["broken"] * 6, "string"),
    ],
)
def test_types(values: list[object], kind: str) -> None:
    assert rule_of(values).type is ColumnType(kind)


def test_nullable_only_for_a_share_of_nulls() -> None:
    assert not rule_of(["1"] * 150).nullable
    assert not rule_of(["1"] * 150 + [""]).nullable
    assert rule_of(["1"] * 150 + [""] * 3).nullable
    assert not rule_of(["1"] * 1000 + [""] * 8).nullable
    assert rule_of(["1", ""] * 10).nullable
    assert rule_of(["", ""]).nullable


@pytest.mark.parametrize(
    "values",
    [
        RANDOM.normal(100, 15, 2000),
        RANDOM.normal(0, 1, 2000),
        RANDOM.normal(10, 4, 5000),
        RANDOM.lognormal(0, 1, 5000),
        RANDOM.lognormal(3, 2, 5000),
        RANDOM.pareto(1.2, 5000),
        RANDOM.exponential(1e-9, 3000),
        RANDOM.uniform(1e6, 1e9, 500),
        np.where(RANDOM.random(2000) < 0.93, 0.0, RANDOM.lognormal(8, 1, 2000)),
        np.concatenate([RANDOM.normal(0, 1, 500), RANDOM.normal(500, 1, 500)]),
        RANDOM.integers(0, 2, 300),
        RANDOM.poisson(0.02, 2000),
        np.arange(1000),
        RANDOM.standard_t(3, 3000),
    ],
)
def test_real_tails_pass(values: np.ndarray) -> None:
    assert quarantined(values.tolist()) == []


@pytest.mark.parametrize("broken", [-880.2, 1e6, -1e9, 9.99e20])
@pytest.mark.parametrize("rows", [60, 150, 3000])
def test_gross_outliers_of_the_first_push_are_caught(broken: float, rows: int) -> None:
    values = [*RANDOM.lognormal(6, 0.5, rows).tolist(), broken]
    assert quarantined(values) == [broken]


def test_more_of_the_same_passes_later() -> None:
    first = infer_contract(pa.table({"x": RANDOM.lognormal(2, 0.8, 200)}))
    later = pa.table({"x": RANDOM.lognormal(2, 0.8, 20_000)})
    assert len(check(later, first).reasons) == 0


def test_signs() -> None:
    warm = RANDOM.uniform(5, 30, 200).tolist()
    assert rule_of(warm, "price").min == 0
    low = rule_of(warm, "outdoor_temperature").min
    assert low is not None
    assert low < 0
    assert quarantined([*warm, -400.0], "price") == [-400.0]
    assert quarantined([*warm, -0.5, -2.0], "x") == []


def test_counters_and_identifiers_have_no_bounds() -> None:
    assert rule_of([str(i) for i in range(100)], "n").max is None
    rule = rule_of([str(i * 7 % 101) for i in range(100)], "customer_id")
    assert (rule.unique, rule.min, rule.max) == (True, None, None)
    assert not rule_of(["1", "1", "2"], "customer_id").unique
    assert rule_of([f"u{i}" for i in range(50)], "ID").unique
    assert not rule_of([str(i) for i in range(50)], "width").unique


def test_few_numbers_have_no_bounds() -> None:
    assert rule_of([1.0, 2.0, 900.0]).max is None


def test_sets() -> None:
    assert rule_of(["a", "b"] * 10).values == ("a", "b")
    assert rule_of(["a", "b"] * 9).values is None
    assert rule_of(["a"] * 90 + ["b"] * 60 + ["unknown"]).values == ("a", "b")
    assert rule_of(["a"] * 9000 + ["b"] * 8).values == ("a", "b")
    assert rule_of([str(i) + "x" for i in range(200)]).values is None
    assert rule_of(["a"] * 100 + [f"rare{i}" for i in range(30)]).values is None
    assert rule_of([f"v{i % 21}" for i in range(2100)]).values is None


def test_bounds_are_round_and_outside() -> None:
    rule = rule_of(RANDOM.uniform(100, 200, 300).tolist())
    assert rule.min == 0
    assert rule.max is not None
    assert rule.max >= 200
    assert rule.max == float(f"{rule.max:.2g}")


def test_huge_and_tiny_numbers_do_not_break_it() -> None:
    assert rule_of([1e308, -1e308, *range(40)]).type is ColumnType.NUMBER
    assert rule_of([5e-324, 1e-320, *([0.0] * 40)]).type is ColumnType.NUMBER
    assert rule_of([1e300 * (i + 1) for i in range(40)]).type is ColumnType.NUMBER
