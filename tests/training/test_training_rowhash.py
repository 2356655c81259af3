from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.training.rowhash import row_hashes

CELLS = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.just(0), st.integers(-3, 3))
TEXTS = st.one_of(st.none(), st.text(max_size=5))


def table(rows: list[tuple[int | None, str | None]]) -> pa.Table:
    return pa.table(
        {
            "a": pa.array([a for a, _ in rows], pa.int64()),
            "b": pa.array([b for _, b in rows], pa.string()),
        }
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELLS, TEXTS), min_size=1, max_size=30))
def test_equal_exactly_when_the_rows_are(rows: list[tuple[int | None, str | None]]) -> None:
    hashes = row_hashes(table(rows), without="target").tolist()
    for row, own in zip(rows, hashes, strict=True):
        for other, theirs in zip(rows, hashes, strict=True):
            assert (own == theirs) == (row == other)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(CELLS, TEXTS), min_size=1, max_size=20))
def test_column_order_target_and_later_columns_change_nothing(
    rows: list[tuple[int | None, str | None]],
) -> None:
    first = table(rows)
    later = first.select(["b", "a"]).append_column("new", pa.nulls(len(rows), pa.string()))
    later = later.append_column("target", pa.array(range(len(rows))))
    assert (
        row_hashes(first, without="target").tolist() == row_hashes(later, without="target").tolist()
    )


def test_a_whole_number_is_the_same_as_integer_and_float() -> None:
    one = pa.table({"a": pa.array([1, 0, None], pa.int64())})
    same = pa.table({"a": pa.array([1.0, -0.0, None], pa.float64())})
    assert row_hashes(one, without="").tolist() == row_hashes(same, without="").tolist()


def test_nan_is_missing_and_neighbours_beyond_float_precision_differ() -> None:
    holes = pa.table({"a": pa.array([float("nan"), None])})
    assert len(set(row_hashes(holes, without="").tolist())) == 1
    large = pa.table({"a": pa.array([2**60, 2**60 + 1], pa.int64())})
    assert len(set(row_hashes(large, without="").tolist())) == 2


def test_the_same_values_in_other_columns_differ() -> None:
    swapped = pa.table({"a": pa.array(["x", "y"]), "b": pa.array(["y", "x"])})
    assert len(set(row_hashes(swapped, without="").tolist())) == 2


def test_every_type_has_a_hash() -> None:
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    rows = pa.table(
        {
            "t": pa.array([moment, None], pa.timestamp("ms", "UTC")),
            "b": pa.array([True, False]),
            "l": pa.array([[1], [2]]),
            "d": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    assert len(set(row_hashes(rows, without="").tolist())) == 2
    assert row_hashes(rows.slice(0, 0), without="").tolist() == []
