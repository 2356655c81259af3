"""Reading delivered files: every way they are broken, and exact lines."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.data.csv_file import read_csv
from volant.data.encoding import Text
from volant.data.filerows import FileRows
from volant.data.options import FileOptions, file_options
from volant.data.read import read_file
from volant.errors import InvalidInput


def read(folder: Path, name: str, content: bytes | str, **options: str) -> FileRows:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, options=file_options(options))


def refused(folder: Path, name: str, content: bytes | str, **options: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(folder, name, content, **options)
    assert caught.value.fix
    return str(caught.value)


def lines(rows: FileRows) -> list[int]:
    return rows.lines(np.arange(rows.table.num_rows))


# CSV


def test_a_plain_file(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", "x,y\n1,a\n2,\n")
    assert rows.table.to_pydict() == {"x": ["1", "2"], "y": ["a", ""]}
    assert lines(rows) == [2, 3]
    assert rows.raws(np.array([1])) == ['{"x": "2", "y": ""}']
    assert rows.warnings == ()


def test_missing_empty_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no file gone\.csv"):
        read_file(tmp_path / "gone.csv")
    with pytest.raises(InvalidInput, match="is a folder"):
        read_file(tmp_path)
    assert "empty" in refused(tmp_path, "a.csv", "")
    assert "empty" in refused(tmp_path, "a.csv", "\n \n")
    assert "header but no rows" in refused(tmp_path, "a.csv", "x,y\n")
    assert "header but no rows" in refused(tmp_path, "a.csv", "x,y")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_found_and_told(tmp_path: Path, delimiter: str) -> None:
    content = f"x{delimiter}y{delimiter}z\n1,5{delimiter}2{delimiter}a\n"
    rows = read(tmp_path, "a.csv", content)
    assert rows.table.to_pylist() == [{"x": "1,5", "y": "2", "z": "a"}]
    assert "separated by" in rows.warnings[0]
    assert read(tmp_path, "a.csv", content, delimiter=delimiter).warnings == ()
    assert read(tmp_path, "a.tsv", "x\ty\n1\t2\n").table.column_names == ["x", "y"]


def test_a_wrong_delimiter_given_names_the_right_one(tmp_path: Path) -> None:
    assert "delimiter=';'" in refused(tmp_path, "a.csv", "x;y\n1;2\n", delimiter=",")
    assert "delimiter='tab'" in refused(tmp_path, "a.csv", "x\ty\n1\t2\n", delimiter=";")


def test_one_column_is_fine(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "x\n1\n\n2\n").table.to_pydict() == {"x": ["1", "2"]}


def test_ragged_rows_are_set_aside_with_their_lines(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", 'x,y\n1,2\n\n3\n"a\nb",4\n5,6,7\n\n8,9\n')
    assert rows.table.to_pydict() == {"x": ["1", "a\nb", "8"], "y": ["2", "4", "9"]}
    assert lines(rows) == [2, 5, 9]
    assert [(b.line, b.raw, b.reason) for b in rows.broken] == [
        (4, "3", "the row has 1 fields, but the header has 2"),
        (7, "5,6,7", "the row has 3 fields, but the header has 2"),
    ]


def test_line_ends_and_quotes(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", b'\xef\xbb\xbfx,y\r\n"q ""x"" ",1\r\n\r\n5" pipe,2\r\n3,4')
    assert rows.table.column("x").to_pylist() == ['q "x" ', '5" pipe', "3"]
    assert lines(rows) == [2, 4, 5]
    assert lines(read(tmp_path, "a.csv", b"x,y\r1,2\r3,4\r")) == [2, 3]
    odd = 'x,y\n5" pipe,1\n"a\nb",2\n3"x,4\n'
    assert lines(read(tmp_path, "a.csv", odd)) == [2, 3, 5]


def test_an_open_quote_is_told_with_its_line(tmp_path: Path) -> None:
    assert "line 3 is never closed" in refused(tmp_path, "a.csv", 'x,y\n1,2\n"3,4\n5,6\n')


def test_headers_that_can_not_be(tmp_path: Path) -> None:
    assert "2 columns named 'x' (number 1, 3)" in refused(tmp_path, "a.csv", "x,y,x\n1,2,3\n")
    assert "Column 1 of a.csv has no name" in refused(tmp_path, "a.csv", ",y\n1,2\n")
    assert "no header" in refused(tmp_path, "a.csv", "1.5,2,3\n1,2,3\n")
    assert read(tmp_path, "a.csv", " x , y\n1,2\n").table.column_names == ["x", "y"]


def test_a_row_larger_than_a_block(tmp_path: Path) -> None:
    long = "v" * (9 << 20)
    rows = read(tmp_path, "a.csv", f'x,y\n1,2\n"{long}",3\n4,5\n')
    assert rows.table.num_rows == 3
    assert rows.table.column("x")[1].as_py() == long


# encodings


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(tmp_path: Path, codec: str) -> None:
    rows = read(tmp_path, "a.csv", "größe,ort\n1,Köln\n".encode(codec))
    assert rows.table.to_pylist() == [{"größe": "1", "ort": "Köln"}]


def test_western_windows_text_is_read_with_a_warning(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", "größe,preis\n1,5 €\n".encode("cp1252"))
    assert rows.table.to_pylist() == [{"größe": "1", "preis": "5 €"}]
    assert "cp1252" in rows.warnings[0]


def test_other_bytes_are_refused_with_offset_and_line(tmp_path: Path) -> None:
    assert "offset 4 (line 2)" in refused(tmp_path, "a.csv", b"x,y\n\x81\x8d,2\n")
    damaged = "x,y\nK\u00f6ln,1\n".encode() + b"a\xffb,2\n"
    assert "line 3" in refused(tmp_path, "a.csv", damaged)
    assert "option encoding" in refused(
        tmp_path, "a.csv", "名前,年\n太郎丸,3\n".encode("shift-jis")
    )


def test_the_encoding_given_wins(tmp_path: Path) -> None:
    content = "名前,年\n太郎,3\n".encode("shift-jis")
    rows = read(tmp_path, "a.csv", content, encoding="shift-jis")
    assert rows.table.to_pylist() == [{"名前": "太郎", "年": "3"}]
    assert "offset 4" in refused(tmp_path, "a.csv", b"x,y\n\x81", encoding="cp932")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "Excel"),
        (b"\x1f\x8b\x08rest", "gunzip"),
        (b"x,y\n1,\x002\n", "zero byte at offset 6"),
    ],
)
def test_files_that_are_not_text(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refused(tmp_path, "a.csv", content)


# JSON lines


def test_json_lines(tmp_path: Path) -> None:
    content = '{"a": 1, "b": "x"}\n\n{"a": 2.5, "c": true}\n[1]\nnope\n{"b": null, "d": {"e": [1]}}'
    rows = read(tmp_path, "a.jsonl", content)
    assert rows.table.to_pydict() == {
        "a": [1.0, 2.5, None],
        "b": ["x", None, None],
        "c": [None, True, None],
        "d": [None, None, '{"e": [1]}'],
    }
    assert lines(rows) == [1, 3, 6]
    assert rows.raws(np.array([1])) == ['{"a": 2.5, "c": true}']
    assert [(one.line, one.raw) for one in rows.broken] == [(4, "[1]"), (5, "nope")]
    assert "a JSON list, not an object" in rows.broken[0].reason


def test_json_values_of_several_kinds_become_text(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.json", '{"a": 1}\n{"a": "x"}\n{"a": true}\n{"a": NaN}\n')
    assert rows.table.column("a").to_pylist() == ["1", "x", "true", "NaN"]
    big = read(tmp_path, "a.json", '{"a": 123456789012345678901}\n{"a": 1}\n')
    assert (
        big.table.column("a").to_pylist() == ["1.2345678901234568e+20", "1"]
        or (big.table.column("a").to_pylist() == ["123456789012345678901", "1"])
        or big.table.column("a").to_pylist() == [1.2345678901234568e20, 1.0]
    )


def test_json_that_is_none(tmp_path: Path) -> None:
    assert "one JSON list" in refused(tmp_path, "a.json", '[{"a": 1}]')
    assert "in line 1" in refused(tmp_path, "a.jsonl", "a,b\n1,2\n")


def test_columns_that_only_later_chunks_have(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("volant.data.jsonl_file._CHUNK", 2)
    content = "\n".join(
        json.dumps(row) for row in [{"a": 1}, {"a": 2}, {"a": 0.5, "b": 1}, {"a": "x"}]
    )
    rows = read(tmp_path, "a.jsonl", content)
    assert rows.table.to_pydict() == {
        "a": ["1", "2", "0.5", "x"],
        "b": [None, None, "1", None],
    } or (rows.table.column("b").to_pylist() == [None, None, 1, None])


# Parquet


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({
        "i": pa.array([1, 2], pa.int16()),
        "d": pa.array([None, 1], pa.date32()),
        "s": pa.array(["x", None]).dictionary_encode(),
        "__index_level_0__": [0, 1],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.data")
    rows = read_file(tmp_path / "a.data")
    assert rows.table.schema.types == [pa.int64(), pa.timestamp("us", "UTC"), pa.string()]
    assert lines(rows) == [1, 2]
    assert rows.raws(np.array([1])) == ['{"i": 2, "d": "1970-01-02T00:00:00Z", "s": null}']
    assert "pandas" in rows.warnings[0]


def test_parquet_that_is_none(tmp_path: Path) -> None:
    assert "isn't a Parquet file" in refused(tmp_path, "a.parquet", "x,y\n1,2\n")
    assert "damaged Parquet" in refused(tmp_path, "a.parquet", b"PAR1 and no more PAR1")
    pq.write_table(pa.table({"l": [[1], [2]]}), tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match=r"'l' of b\.parquet holds list"):
        read_file(tmp_path / "b.parquet")
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "c.parquet")
    with pytest.raises(InvalidInput, match="has no rows"):
        read_file(tmp_path / "c.parquet")


def test_the_format_given_wins(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", '{"x": 1}\n', format="jsonl").table.to_pydict() == {"x": [1]}
    assert read(tmp_path, "data", '{"x": 1}\n').table.to_pydict() == {"x": [1]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delimeter": ";"}, "Did you mean 'delimiter'"),
        ({"format": "xlsx"}, "'xlsx' is no format"),
        ({"delimiter": "::"}, "can't separate columns"),
        ({"encoding": "klingon"}, "no text encoding"),
        ({"encoding": "hex"}, "no text encoding"),
        ({"delimiter": 5}, "is 5"),
    ],
)
def test_options_that_can_not_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        file_options(options)
    assert words in str(caught.value)


def test_options_that_can_be() -> None:
    assert file_options({"format": "TSV", "delimiter": "tab"}) == FileOptions("csv", "\t", None)
    assert file_options(None) == FileOptions()


# what holds for every file

cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6
)


@given(
    rows=st.lists(st.lists(cells, min_size=1, max_size=4), min_size=1, max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_every_row_comes_back_or_is_set_aside(rows, ending: str, quoting: int) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # this writer leaves a lone CR unquoted
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=ending, quoting=quoting)
    starts: list[int] = []
    for row in [["first", "second"], *rows]:
        before = text.getvalue()
        starts.append(
            len(before.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
        )
        writer.writerow(row)
    read = read_csv(Text(pa.py_buffer(text.getvalue().encode())), "a.csv", ",")
    good = [row for row in rows if len(row) == 2]
    assert [tuple(row.values()) for row in read.table.to_pylist()] == [tuple(row) for row in good]
    assert len(read.broken) == len(rows) - len(good)
    assert lines(read) == [s for s, row in zip(starts[1:], rows, strict=True) if len(row) == 2]
    assert [b.line for b in read.broken] == [
        s for s, row in zip(starts[1:], rows, strict=True) if len(row) != 2
    ]
