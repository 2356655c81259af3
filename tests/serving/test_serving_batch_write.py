"""Chunk files as one output."""

import pyarrow as pa
import pyarrow.parquet as pq

from volant.serving.batch_write import join, write_chunk


def joined(folder, *tables):
    paths = []
    for number, table in enumerate(tables):
        paths.append(folder / f"{number}.parquet")
        write_chunk(table, paths[-1], "parquet")
    join(paths, folder / "out.parquet", "parquet", pa.schema([("p", pa.string())]))
    return pq.read_table(folder / "out.parquet")


def test_columns_whose_types_clash_are_text(tmp_path):
    found = joined(
        tmp_path,
        pa.table({"id": [1, 2], "x": [1, 2], "b": [True, False], "p": [0.5, 1.5]}),
        pa.table({"id": ["a"], "x": [0.5], "b": [7], "p": [2.5]}),
        pa.table({"id": [[1]], "p": [3.5], "late": [9]}),
    )
    assert found.column("id").to_pylist() == ["1", "2", "a", "[1]"]
    assert found.column("x").to_pylist() == [1.0, 2.0, 0.5, None]
    assert found.column("b").to_pylist() == ["true", "false", "7", None]
    assert found.column("p").to_pylist() == [0.5, 1.5, 2.5, 3.5]
    assert found.column("late").to_pylist() == [None, None, None, 9]


def test_a_whole_number_that_no_float_is_keeps_its_digits(tmp_path):
    found = joined(tmp_path, pa.table({"id": [2**53 + 1]}), pa.table({"id": [0.5]}))
    assert found.column("id").to_pylist() == [str(2**53 + 1), "0.5"]


def test_a_column_without_any_value_takes_the_others_type(tmp_path):
    found = joined(tmp_path, pa.table({"id": pa.nulls(1)}), pa.table({"id": [5]}))
    assert found.column("id").to_pylist() == [None, 5]


def test_chunks_without_rows_still_tell_the_types(tmp_path):
    empty = pa.schema([("a", pa.int64()), ("p", pa.float32())]).empty_table()
    assert joined(tmp_path, empty).schema.types == [pa.int64(), pa.float32()]
    assert joined(tmp_path).schema.types == [pa.string()]
