"""JSON, YAML and CSV: the same document, and tables that other programs read back."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from volant.cli.forms import csv_text, tables_text, text_of
from volant.cli.options import Format, Options
from volant.cli.output import Output


def read(text):
    return list(csv.reader(io.StringIO(text)))


def test_json_and_yaml_are_the_same_document(volant):
    as_json = volant("models", "--json")
    assert as_json.code == 0
    assert yaml.safe_load(volant("models", "--format", "yaml").out) == as_json.json
    assert volant("models", "--format", "json").json == as_json.json


def test_csv_is_the_table(volant):
    header, *rows = read(volant("models", "--format", "csv").out)
    assert header[0] == "model"
    assert {row[0] for row in rows} == {"wine-quality"}


def test_an_empty_table_has_its_header(volant):
    done = volant("data", "list", "--format", "csv")
    assert len(read(done.out)) == 1
    assert done.err == ""


@pytest.mark.parametrize("form", ["json", "yaml", "csv"])
def test_errors_have_the_form_too(volant, form):
    done = volant("models", "show", "nothing", "--format", form)
    assert done.code == 3
    assert "Error:" in done.err
    if form == "csv":
        header, row = read(done.out)
        found = dict(zip(header, row, strict=True))
    else:
        found = yaml.safe_load(done.out)["error"]
    assert found["kind"] == "not_found"
    assert "nothing" in found["what"]


def test_a_command_without_a_table_gives_its_document():
    document = {"deleted": "a", "count": 2, "more": {"x": [1]}, "none": None}
    assert read(tables_text([], document)) == [
        ["deleted", "count", "more", "none"],
        ["a", "2", '{"x": [1]}', ""],
    ]
    lines = {"lines": [{"text": "a, b"}, {"text": 'c"', "at": 1}], "after": None}
    assert read(tables_text([], lines)) == [["text", "at"], ["a, b", ""], ['c"', "1"]]
    assert read(tables_text([], ["a"])) == [["value"], ["a"]]


def test_text_between_tables_stays_out_of_csv(capsys):
    out = Output(Options(format=Format.CSV))

    def render():
        out.line("A title")
        out.table(("a", "b"), [("1", "x\x1b[31m\ny")])
        out.raw("and words")
        out.table(("c",), [])
        print("even these")

    out.document({}, render)
    told = capsys.readouterr().out
    assert told == 'a,b\n1,"x\ny"\n\nc\n'
    out.table(("d",), [("2",)])
    assert capsys.readouterr().out == "d\n2\n"


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1))
def test_any_cell_comes_back(rows):
    assert read(csv_text(("a", "b"), rows))[1:] == rows


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | CELL))
def test_any_document_comes_back(document):
    assert json.loads(text_of(document, Format.JSON)) == document
    assert yaml.safe_load(text_of(document, Format.YAML)) == document
