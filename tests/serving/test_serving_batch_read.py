"""Rows of files in chunks: what JSON lines mix, what a CSV hides, how far it is."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volant.errors import InvalidInput
from volant.serving import batch_read
from volant.serving.batch_read import as_text, chunks, open_source, unreadable


def rows_of(path: Path, rows: int) -> list[dict]:
    kind = {"csv": "csv", "jsonl": "jsonl"}[path.suffix[1:]]
    source = open_source(path, kind, rows)
    return [row for chunk in chunks(source.pieces, rows) for row in chunk.to_pylist()]


def test_a_column_that_changes_its_type_is_text_where_pieces_meet(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(
        '{"id":1,"flag":true,"n":1}\n{"id":"a","flag":0,"n":2.5}\n{"id":[2],"n":null}\n'
    )
    pieces = [pa.Table.from_pylist([row]) for row in rows_of(path, 1)]
    (whole,) = chunks(iter(pieces), 3)
    assert whole.column("id").to_pylist() == ["1", "a", "[2]"]
    assert whole.column("flag").to_pylist() == ["true", "0", None]
    assert whole.column("n").to_pylist() == [1.0, 2.5, None]


def test_a_column_that_a_piece_lacks_is_still_joined():
    pieces = [pa.table({"id": [1]}), pa.table({"x": [2]}), pa.table({"id": ["a"], "x": [3]})]
    (whole,) = chunks(iter(pieces), 3)
    assert whole.to_pylist() == [{"id": "1", "x": None}, {"id": None, "x": 2}, {"id": "a", "x": 3}]


@pytest.mark.parametrize("beside", ["1", "0.5", '"a"', "null"])
@pytest.mark.parametrize("rows", [1, 10])
def test_a_long_whole_number_keeps_its_digits(tmp_path, beside, rows):
    path = tmp_path / "in.jsonl"
    numbers = ["12345678901234567890123", "9007199254740993", "-9223372036854775809"]
    path.write_text("".join(f'{{"id":{number}}}\n' for number in [*numbers, beside]))
    assert [str(row["id"]) for row in rows_of(path, rows)][:3] == numbers


def test_long_numbers_in_lists_and_some_that_are_no_number(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"x":[12345678901234567890123]}}\n{{"x":{"1" * 5000}}}\n')
    source = open_source(path, "jsonl", 10)
    assert [row["x"] for row in next(source.pieces).to_pylist()] == ["[12345678901234567890123]"]
    assert [each.line for each in source.broken] == [2]


def test_values_as_text():
    assert as_text([None, "a", 1, 1.5, True, {"a": [1]}]).to_pylist() == [
        None, "a", "1", "1.5", "true", '{"a":[1]}'
    ]  # fmt: skip


def test_blanks_around_a_csv_s_names_are_not_part_of_them(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("area, rooms \n70, 3\n")
    assert rows_of(path, 10) == [{"area": "70", "rooms": " 3"}]
    path.write_text("area, area\n70,3\n")
    with pytest.raises(InvalidInput, match="names a column twice"):
        open_source(path, "csv", 10)


def test_a_parquet_file_that_names_a_column_twice_is_refused(tmp_path):
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "in.parquet")
    with pytest.raises(InvalidInput, match="names a column twice"):
        open_source(tmp_path / "in.parquet", "parquet", 10)


def test_the_columns_are_known_where_there_are_no_rows(tmp_path):
    (tmp_path / "in.csv").write_text("a,b\n")
    assert open_source(tmp_path / "in.csv", "csv", 10).schema.names == ["a", "b"]
    schema = pa.schema([("a", pa.int64())])
    pq.write_table(schema.empty_table(), tmp_path / "in.parquet")
    assert open_source(tmp_path / "in.parquet", "parquet", 10).schema == schema


def test_how_many_rows_are_expected_follows_from_those_that_were_read(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_read, "_BLOCK", 1 << 12)
    path = tmp_path / "in.csv"
    path.write_text("number,word\n" + "".join(f"{i:08},some words\n" for i in range(10_000)))
    source = open_source(path, "csv", 100)
    assert source.total() is None
    next(source.pieces)
    assert source.total() == pytest.approx(10_000, rel=0.05)
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"x":1}\n' * 1000)
    source = open_source(lines, "jsonl", 100)
    next(source.pieces)
    assert source.total() == pytest.approx(1000)


def test_text_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes("a,b\n1,größer\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="save it as UTF-8"):
        open_source(path, "csv", 10)
    assert "UTF-8" not in unreadable(path, pa.ArrowInvalid("a page is short")).fix
