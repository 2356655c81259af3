from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from volant.training.columns import TableInput, slots_of

NAMES = ["n", "i", "b", "s", "t"]
TYPES = ["number", "integer", "boolean", "string", "timestamp"]
MOMENT = datetime(2024, 2, 29, 18, 30, tzinfo=UTC)


def arrow() -> pa.Table:
    return pa.table(
        {
            "t": pa.array([MOMENT, None], pa.timestamp("ms", "UTC")),
            "s": pa.array(["x", None]),
            "n": pa.array([0.1, None]),
            "i": pa.array([3, None], pa.int64()),
            "b": pa.array([True, None]),
            "other": pa.array([1, 2]),
        }
    )


def rows_of_every_kind() -> list[Any]:
    lists = {
        "n": [0.1, None],
        "i": [3, None],
        "b": [True, None],
        "s": ["x", None],
        "t": ["2024-02-29T18:30:00Z", ""],
    }
    frame = pd.DataFrame({k: v for k, v in lists.items() if k != "t"})
    frame["t"] = pd.to_datetime([MOMENT, None])
    array = np.empty((2, 5), dtype=object)
    for index, name in enumerate(NAMES):
        array[:, index] = lists[name]
    naive = {**lists, "t": [MOMENT.replace(tzinfo=None), np.nan], "s": ["x", float("nan")]}
    return [arrow(), frame, lists, array, array.tolist(), naive]


@pytest.mark.parametrize("kind", range(6))
def test_every_kind_of_rows_gives_the_same_matrix(kind: int) -> None:
    matrix = TableInput(NAMES, TYPES).transform(rows_of_every_kind()[kind])
    assert matrix.shape == (2, 9)
    assert matrix[0, :4].tolist() == [float(np.float32(0.1)), 3.0, 1.0, "x"]
    days = (MOMENT - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400
    assert matrix[0, 4:].tolist() == pytest.approx([float(np.float32(days)), 2, 29, 3, 18.5])
    assert np.isnan(matrix[1, [0, 1, 2, 4, 5, 6, 7, 8]].astype(float)).all()
    assert matrix[1, 3] == ""


def test_slots_name_the_matrix_columns() -> None:
    assert [name for name, _ in slots_of(NAMES, TYPES)] == [
        "n", "i", "b", "s", "t.days", "t.month", "t.day", "t.weekday", "t.hour",
    ]  # fmt: skip


def test_numbers_alone_are_float32_and_never_infinite() -> None:
    matrix = TableInput(["a"], ["number"]).transform({"a": [1e300, float("inf"), 2.5]})
    assert matrix.dtype == np.float32
    assert np.isnan(matrix[:2, 0]).all()
    assert matrix[2, 0] == 2.5


def test_a_frame_keeps_types() -> None:
    frame = TableInput(NAMES, TYPES, "frame").transform(arrow())
    assert list(frame.columns) == NAMES
    assert frame["i"].dtype == np.float64  # one is missing
    assert frame["t"].dtype.kind == "M"
    whole = TableInput(["i", "b"], ["integer", "boolean"], "frame").transform(
        {"i": [1, 2], "b": [True, False]}
    )
    assert [str(d) for d in whole.dtypes] == ["int64", "bool"]


def test_a_table_and_plain_values() -> None:
    table = TableInput(NAMES, TYPES, "table").transform(arrow())
    assert table.column("s").to_pylist() == ["x", None]
    assert table.column("n").null_count == 1
    values = TableInput(["n"], ["number"], "values").transform(arrow())
    assert values.dtype == np.float64
    assert values[0, 0] == 0.1


@pytest.mark.parametrize(
    ("names", "kind", "rows", "words"),
    [
        (["z"], "number", arrow(), "column 'z' is absent"),
        (["z"], "number", pd.DataFrame({"a": [1]}), "column 'z' is absent"),
        (["z"], "number", {"a": [1]}, "column 'z' is absent"),
        (["a", "z"], "number", np.zeros((2, 1)), "have no column 1 ('z')"),
        (["a"], "number", {"a": ["word"]}, "'a' has a value that isn't a number"),
        (["a"], "timestamp", {"a": ["then"]}, "'a' has a value that isn't a timestamp"),
    ],
)
def test_refusals_name_the_column(names: list[str], kind: str, rows: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        TableInput(names, [kind] * len(names)).transform(rows)
    assert words in str(caught.value)


def test_dates_decimals_and_categories() -> None:
    table = pa.table(
        {
            "d": pa.array([date(2020, 1, 2), None]),
            "s": pa.array(["a", "b"]).dictionary_encode(),
            "x": pa.array([Decimal(1), Decimal(2)], pa.decimal128(10, 2)),
        }
    )
    matrix = TableInput(["d", "s", "x"], ["timestamp", "string", "number"]).transform(table)
    assert matrix[0].tolist() == [18263.0, 1.0, 2.0, 3.0, 0.0, "a", 1.0]
    days = TableInput(["d"], ["timestamp"]).transform({"d": [date(2020, 1, 2), 86_400_000_000]})
    assert days[:, 0].tolist() == [18263.0, 1.0]
