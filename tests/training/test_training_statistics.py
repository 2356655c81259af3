"""What is recorded of training rows: right numbers, whatever they are, and nobody's name."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.codec import from_plain, to_plain
from volant.domain.model import Field
from volant.domain.statistics import (
    STATISTICS_FILE,
    ColumnStatistics,
    TrainingStatistics,
    ValueCount,
    moment,
)
from volant.evaluation.metrics import score
from volant.training.schema import features_of
from volant.training.statistics import MOST_COLUMNS, statistics_of
from volant.training.train import train


def of(table: pa.Table, target: str = "target", task: str = "classification") -> TrainingStatistics:
    return statistics_of(table, features_of(table, target).fields, target, task)


def column(values: Any, kind: Any = None) -> ColumnStatistics:
    """The statistics of one column."""
    made = pa.array(values, kind)
    return of(pa.table({"x": made, "target": pa.array([0] * len(made), pa.int64())})).columns[0]


def known(statistics: ColumnStatistics) -> Any:
    assert statistics.numbers is not None
    return statistics.numbers


def written(statistics: TrainingStatistics) -> str:
    """As JSON, which has neither NaN nor infinity."""
    return json.dumps(to_plain(statistics), allow_nan=False)


NUMBERS = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, math.inf])


@given(st.lists(NUMBERS, max_size=80), st.randoms())
def test_any_numbers(values: list[float | None], chance: Any) -> None:
    found = column(values, pa.float64())
    finite = sorted(v for v in values if v is not None and math.isfinite(v))
    assert found.count == len(finite)
    assert found.missing == len(values) - len(finite)
    assert found.infinite == sum(v is not None and math.isinf(v) for v in values)
    assert found.distinct == len(set(finite))
    shuffled = list(values)
    chance.shuffle(shuffled)
    assert column(shuffled, pa.float64()) == found
    assert from_plain(ColumnStatistics, json.loads(json.dumps(to_plain(found)))) == found
    if not finite:
        assert found.numbers is None
        return
    numbers = known(found)
    assert (numbers.min, numbers.max) == (finite[0], finite[-1])
    size = max(abs(finite[0]), abs(finite[-1]))
    exact = sum(map(Fraction, finite)) / len(finite)
    assert math.isclose(numbers.mean, exact, rel_tol=1e-9, abs_tol=1e-12 * size)
    variance = sum((Fraction(v) - exact) ** 2 for v in finite) / len(finite)
    # Measured in the values' own size: squares of the largest are no float64.
    scale = Fraction(size) or Fraction(1)
    wanted = Fraction(size) * Fraction(math.sqrt(variance / scale**2))
    assert math.isclose(numbers.std, wanted, rel_tol=1e-6, abs_tol=1e-7 * size)
    _check_quantiles(numbers, finite)
    _check_histogram(numbers, finite)


def _check_quantiles(numbers: Any, finite: list[float]) -> None:
    assert list(numbers.quantiles) == ["p1", "p5", "p25", "p50", "p75", "p95", "p99"]
    for name, value in numbers.quantiles.items():
        share = int(name[1:]) * len(finite)
        assert value in finite
        assert sum(v <= value for v in finite) * 100 >= share
        assert sum(v < value for v in finite) * 100 < share


def _check_histogram(numbers: Any, finite: list[float]) -> None:
    upper, counts = numbers.histogram.upper, numbers.histogram.counts
    assert len(upper) == len(counts) <= 20
    assert list(upper) == sorted(set(upper))
    assert upper[-1] == finite[-1]
    low = -math.inf
    for edge, count in zip(upper, counts, strict=True):
        assert count == sum(low < v <= edge for v in finite) > 0
        low = edge
    if len(set(finite)) <= 20:
        assert list(upper) == sorted(set(finite))


def test_bins_hold_about_as_many_rows_each() -> None:
    bins = known(column(list(range(1000)))).histogram
    assert bins.counts == (50,) * 20
    assert bins.upper[:2] == (49.0, 99.0)
    zeros = known(column([0] * 900 + list(range(1, 101)))).histogram
    assert (zeros.upper[0], zeros.counts[0], sum(zeros.counts)) == (0.0, 900, 1000)


def test_one_value_and_none() -> None:
    one = known(column([7, 7, 7]))
    assert (one.min, one.max, one.mean, one.std) == (7, 7, 7, 0)
    assert (one.histogram.upper, one.histogram.counts) == ((7.0,), (3,))
    for empty in (column([None, None], pa.float64()), column([None, None], pa.null())):
        assert (empty.count, empty.missing, empty.distinct, empty.numbers) == (0, 2, 0, None)
    assert column([], pa.string()).values == ()
    assert column([None], pa.bool_()).values == ()


def test_values_of_texts_and_booleans() -> None:
    found = column(["b", "a", "b", None, "", "a", "c", "b"])
    assert (found.count, found.missing, found.distinct) == (6, 2, 3)
    assert [(v.value, v.count) for v in found.values] == [("b", 3), ("a", 2), ("c", 1)]
    assert found.listed
    yes = column([True, None, True, False])
    assert yes.values == (ValueCount(True, 2), ValueCount(False, 1))
    assert (yes.missing, yes.distinct) == (1, 2)


@given(st.lists(st.none() | st.text(max_size=3), max_size=60))
def test_any_texts(values: list[str | None]) -> None:
    found = column(values, pa.string())
    counted = Counter(v for v in values if v)
    assert found.count == counted.total()
    assert found.missing == len(values) - found.count
    assert found.distinct == len(counted)
    assert all(counted[str(one.value)] == one.count for one in found.values)
    order = [(-one.count, str(one.value)) for one in found.values]
    assert order == sorted(order)
    if found.count >= 2 * found.distinct and found.distinct <= 50:
        assert len(found.values) == found.distinct
    else:
        assert all(one.count >= 10 for one in found.values)


def test_names_are_nowhere() -> None:
    names = [f"person {n}" for n in range(500)]
    assert column(names).values == ()
    assert column(names[:40]).values == ()  # few, but each is one row
    often = column(["unknown"] * 500 + names + ["rare"] * 9)
    assert [(v.value, v.count) for v in often.values] == [("unknown", 500)]
    assert not often.listed
    many = column([f"city {n}" for n in range(60) for _ in range(20)])
    assert (len(many.values), many.distinct, many.listed) == (50, 60, False)


def test_a_long_text_is_no_option() -> None:
    found = column(["short"] * 5 + ["long" * 20] * 9)
    assert [v.value for v in found.values] == ["short"]
    assert (found.distinct, found.listed) == (2, False)


def test_other_ways_to_store_a_column() -> None:
    texts = pa.array(["a", "b", "a", None])
    plain = column(texts)
    for kind in (pa.large_string(), pa.string_view()):
        assert column(texts.cast(kind)) == plain
    assert column(texts.dictionary_encode()) == plain
    numbers = pa.array([1, 2, 2, None])
    assert known(column(numbers.dictionary_encode())) == known(column(numbers))
    assert known(column(numbers.cast(pa.decimal128(30, 2)))) == known(column(numbers))


def test_timestamps_are_seconds() -> None:
    when = [datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(2024, 2, 29, 12, 30, tzinfo=UTC), None]
    found = column(when, pa.timestamp("us", "UTC"))
    assert (found.type, found.count, found.missing) == ("timestamp", 2, 1)
    assert known(found).min == -3600.0
    assert moment(known(found).max) == "2024-02-29T12:30:00+00:00"
    days = known(column([when[1].date() if when[1] else None], pa.date32()))
    assert moment(days.min) == "2024-02-29T00:00:00+00:00"
    assert moment(1e300) is None


def test_labels() -> None:
    def label(values: Any, task: str, kind: Any = None) -> ColumnStatistics:
        table = pa.table({"x": [1] * len(values), "target": pa.array(values, kind)})
        return of(table, task=task).label

    classes = label(["no", "yes", "no"], "classification")
    assert (classes.name, classes.type, classes.count) == ("target", "string", 3)
    assert classes.values == (ValueCount("no", 2), ValueCount("yes", 1))
    whole = label([1.0, 0.0, 1.0], "classification")
    assert (whole.type, whole.values) == ("integer", (ValueCount(1, 2), ValueCount(0, 1)))
    assert label([True, False, True], "classification").values[0] == ValueCount(True, 2)
    assert len(label([f"class {n}" for n in range(90)], "classification").values) == 50
    found = label([1, 2, 4], "regression")
    assert (found.type, known(found).quantiles["p50"], found.values) == ("integer", 2.0, ())


def test_it_stays_small() -> None:
    wide = [f"c{n}" for n in range(MOST_COLUMNS + 20)]
    values = [f"{'é' * 60}{n:02}" for n in range(50)] * 2
    table = pa.table({**dict.fromkeys(wide, values), "target": [0, 1] * 50})
    found = of(table)
    assert (len(found.columns), found.left_out) == (MOST_COLUMNS, 20)
    assert len(written(found).encode()) < MOST_COLUMNS * 20_000
    assert [each.name for each in found.columns] == wide[:MOST_COLUMNS]


def test_only_what_the_model_takes() -> None:
    table = pa.table({"a": [1, 2], "b": [3, 4], "y": [0, 1]})
    found = statistics_of(table, [Field("b", "integer")], "y", "classification")
    assert [each.name for each in found.columns] == ["b"]
    assert (found.rows, found.label.name, found.left_out) == (2, "y", 0)


def test_they_are_files_of_the_model(
    mixed: Any, train_inputs: Any, context: Any, tmp_path: Path
) -> None:
    """Also of an attempt that died when its model was there and they weren't."""
    rows = mixed(120)
    pq.write_table(rows, tmp_path / "train.parquet")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "described.py").write_text(
        "from sklearn.dummy import DummyClassifier\n"
        "def fit(X, y):\n    return DummyClassifier().fit(X, y)\n"
    )
    inputs = train_inputs(
        tmp_path / "train.parquet", call="described:fit", code_dir=str(tmp_path / "code")
    )
    folder = Path(train(inputs, context, score)["model_dir"])
    first = (folder / STATISTICS_FILE).read_bytes()
    found = from_plain(TrainingStatistics, json.loads(first))
    assert found == of(rows)
    assert [each.name for each in found.columns] == rows.column_names[:-1]
    by_name = {each.name: each for each in found.columns}
    assert by_name["label"].values == ()  # an id
    assert {one.value for one in by_name["color"].values} == {"red", "green", "blue"}
    assert by_name["empty"].missing == 120
    (folder / STATISTICS_FILE).unlink()
    (context.workdir / "answer.json").unlink()
    train(inputs, context, score)
    assert (folder / STATISTICS_FILE).read_bytes() == first
