"""What every `Tables` adapter must do, as tests that an adapter's author runs.

Subclass `TablesContract` in a pytest module and give it a fixture `tables` that
returns the adapter over an empty place.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from volant.errors import InvalidInput, NotFound, VolantError
from volant.ports.tables import Tables

_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a name with spaces", pa.float64()),
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("reasons", pa.list_(pa.string())),
    ]
)


def some_rows(first: int = 0, count: int = 3) -> pa.Table:
    """Rows of every type that the product stores, with a null in each."""
    rows: list[dict[str, Any]] = [
        {
            "id": first + index,
            "a name with spaces": index / 2,
            "text": f"row {index} ü",
            "flag": index % 2 == 0,
            "time": datetime(2030, 1, 1, 12, 30, index % 60, 250, tzinfo=UTC),
            "reasons": ["one", "two"],
        }
        for index in range(count - 1)
    ]
    rows.append({**dict.fromkeys(_SCHEMA.names), "id": first + count - 1})
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


class TablesContract:
    """The tests. Every adapter gives the same answers."""

    def test_nothing_is_there_at_first(self, tables: Tables) -> None:
        assert not tables.exists("wine")
        assert tables.version_of("wine", "k") is None
        _raises(NotFound, lambda: tables.read("wine"))

    def test_rows_come_back_as_they_went(self, tables: Tables) -> None:
        assert tables.append("wine", some_rows(), key="k0") == 0
        assert tables.exists("wine")
        assert tables.read("wine").to_pylist() == some_rows().to_pylist()
        assert tables.read("wine").schema.types == _SCHEMA.types

    def test_versions_count_up_and_stay_readable(self, tables: Tables) -> None:
        versions = [tables.append("wine", some_rows(i * 3), key=f"k{i}") for i in range(4)]
        assert versions == sorted(set(versions))
        for index, version in enumerate(versions):
            assert tables.version_of("wine", f"k{index}") == version
            assert tables.read("wine", version=version).num_rows == 3 * (index + 1)

    def test_rows_keep_the_order_of_their_appends(self, tables: Tables) -> None:
        for index in range(5):
            tables.append("wine", some_rows(index * 3), key=f"k{index}")
        assert tables.read("wine").column("id").to_pylist() == list(range(15))

    def test_the_same_key_appends_once(self, tables: Tables) -> None:
        first = tables.append("wine", some_rows(), key="k0")
        tables.append("wine", some_rows(3), key="k1")
        assert tables.append("wine", some_rows(), key="k0") == first
        assert tables.read("wine").num_rows == 6
        assert tables.append("other", some_rows(), key="k0") == 0  # keys are a table's own

    def test_some_columns_and_some_rows(self, tables: Tables) -> None:
        tables.append("wine", some_rows(), key="k0")
        assert tables.read("wine", columns=["text", "id"]).column_names == ["text", "id"]
        assert tables.read("wine", columns=()).num_rows == 3
        assert tables.read("wine", limit=2).column("id").to_pylist() == [0, 1]
        assert tables.read("wine", limit=0).column_names == _SCHEMA.names
        _raises(NotFound, lambda: tables.read("wine", columns=["absent"]))

    def test_versions_that_are_not_there(self, tables: Tables) -> None:
        tables.append("wine", some_rows(), key="k0")
        _raises(NotFound, lambda: tables.read("wine", version=7))
        _raises(NotFound, lambda: tables.read("wine", version=-1))

    def test_a_new_column_reads_null_in_older_rows(self, tables: Tables) -> None:
        tables.append("wine", pa.table({"id": [1]}), key="k0")
        tables.append("wine", pa.table({"id": [2], "new": ["x"]}), key="k1")
        tables.append("wine", pa.table({"id": [3]}), key="k2")
        assert tables.read("wine").column("new").to_pylist() == [None, "x", None]

    def test_whole_numbers_fit_a_column_of_fractions(self, tables: Tables) -> None:
        tables.append("wine", pa.table({"x": [0.5]}), key="k0")
        tables.append("wine", pa.table({"x": [2]}), key="k1")
        assert tables.read("wine").column("x").to_pylist() == [0.5, 2.0]

    def test_a_type_that_does_not_fit_changes_nothing(self, tables: Tables) -> None:
        tables.append("wine", pa.table({"x": [1]}), key="k0")
        for odd in (["text"], [1.5], [True], [datetime(2030, 1, 1, tzinfo=UTC)]):
            rows = pa.table({"x": odd})
            _raises(InvalidInput, lambda rows=rows: tables.append("wine", rows, key="k1"))
        assert tables.version_of("wine", "k1") is None
        assert tables.read("wine").num_rows == 1

    def test_no_rows_are_a_version_too(self, tables: Tables) -> None:
        tables.append("wine", some_rows(), key="k0")
        version = tables.append("wine", some_rows().slice(0, 0), key="k1")
        assert tables.version_of("wine", "k1") == version
        assert tables.read("wine").num_rows == 3

    def test_rows_come_in_pieces(self, tables: Tables) -> None:
        for number in range(3):
            tables.append("wine", some_rows(number * 10, 4), key=f"k{number}")
        pieces = list(tables.scan("wine", version=1, rows=3))
        assert all(piece.num_rows <= 3 for piece in pieces)
        assert pa.concat_tables(pieces).to_pylist() == tables.read("wine", version=1).to_pylist()
        _raises(NotFound, lambda: list(tables.scan("beer", rows=3)))

    def test_the_newest_rows(self, tables: Tables) -> None:
        for number in range(3):
            moment = datetime(2030, 1, 1 + number, tzinfo=UTC)
            rows = pa.table({"time": [moment] * 2, "id": [number * 2, number * 2 + 1]})
            tables.append("predictions/wine", rows, key=f"k{number}")
        newest = tables.newest("predictions/wine", 3)
        assert newest.column("id").to_pylist() == [3, 4, 5]
        since = tables.newest("predictions/wine", 9, since=datetime(2030, 1, 2, tzinfo=UTC))
        assert since.column("id").to_pylist() == [2, 3, 4, 5]
        _raises(NotFound, lambda: tables.newest("beer", 3))

    def test_the_oldest_rows_are_forgotten(self, tables: Tables) -> None:
        for number in range(5):
            rows = pa.table({"id": list(range(number * 1000, number * 1000 + 1000))})
            tables.append("predictions/wine", rows, key=f"k{number}")
        assert tables.trim("predictions/wine", 10**9) == 0
        gone = tables.trim("predictions/wine", 1)
        assert gone == 4000
        assert tables.read("predictions/wine").column("id").to_pylist() == list(range(4000, 5000))
        assert tables.version_of("predictions/wine", "k0") == 0
        tables.append("predictions/wine", pa.table({"id": [7]}), key="k0")
        assert tables.read("predictions/wine").num_rows == 1000
        assert tables.trim("beer", 1) == 0

    def test_names_can_not_climb(self, tables: Tables) -> None:
        for name in ("", ".", "..", "../up", "a/b", "/root", ".hidden", "a\0b", "x" * 300):
            _raises(InvalidInput, lambda name=name: tables.exists(name))
            _raises(InvalidInput, lambda name=name: tables.append(name, some_rows(), key="k"))


def _raises(kind: type[VolantError], call: Callable[[], object]) -> None:
    raised: VolantError | None = None
    try:
        call()
    except kind as error:
        raised = error
    assert raised is not None, f"no {kind.__name__} was raised"
    assert raised.what, "an error must say what happened"
    assert raised.fix, "an error must say what to do"
