"""Logs are read in pieces: nothing twice, nothing left out, whatever is written meanwhile."""

import base64
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.errors import InvalidInput
from volant.workflows import logs
from volant.workflows.logs import read_logs


def line(text, time="2030-01-01T00:00:00Z", stream="stdout"):
    return json.dumps({"time": time, "stream": stream, "text": text}) + "\n"


def write(run_dir, step, text, mode="a"):
    (run_dir / step).mkdir(parents=True, exist_ok=True)
    with (run_dir / step / "log.jsonl").open(mode) as file:
        file.write(text)


def texts(answer):
    return [entry["text"] for entry in answer["lines"]]


def read(run_dir, after=None, *, ended=False, steps=("a", "b")):
    return read_logs(run_dir, steps, after, ended=ended)


def test_nothing_is_there_yet(tmp_path):
    answer = read(tmp_path)
    assert (answer["lines"], answer["done"]) == ([], False)
    assert read(tmp_path, answer["after"], ended=True)["done"]


def test_lines_come_once_and_in_the_order_of_time(tmp_path):
    write(tmp_path, "a", line("1", "2030-01-01T00:00:01Z") + line("3", "2030-01-01T00:00:03Z"))
    write(tmp_path, "b", line("2", "2030-01-01T00:00:02Z", "stderr"))
    first = read(tmp_path)
    assert texts(first) == ["1", "2", "3"]
    assert first["lines"][1] == {
        "step": "b",
        "time": "2030-01-01T00:00:02Z",
        "stream": "stderr",
        "text": "2",
    }
    write(tmp_path, "a", line("4"))
    second = read(tmp_path, first["after"], ended=True)
    assert (texts(second), second["done"]) == (["4"], True)


def test_a_line_in_the_middle_of_being_written_waits(tmp_path):
    half = line("whole")
    write(tmp_path, "a", half[:9])
    first = read(tmp_path)
    assert texts(first) == []
    write(tmp_path, "a", half[9:])
    assert texts(read(tmp_path, first["after"])) == ["whole"]


def test_a_torn_line_is_shown_when_the_run_has_ended(tmp_path):
    write(tmp_path, "a", line("good") + '{"time": "20')
    write(tmp_path, "b", line("later", "2030-01-01T00:00:01Z"))
    answer = read(tmp_path, ended=True)
    assert texts(answer) == ["good", '{"time": "20', "later"]
    assert answer["lines"][1]["time"] is None
    assert answer["done"]


def test_a_torn_line_before_good_ones_hides_nothing(tmp_path):
    write(tmp_path, "a", '{"torn\n\n[1]\n' + line("good"))
    assert set(texts(read(tmp_path))) == {'{"torn', "[1]", "good"}


def test_much_text_comes_in_several_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK_BYTES", 300)
    wanted = [f"{number:050}" for number in range(40)]
    for text in wanted:
        write(tmp_path, "a", line(text))
        write(tmp_path, "b", line("b" + text))
    got, after, done, answers = [], None, False, 0
    while not done:
        answer = read(tmp_path, after, ended=True)
        got += texts(answer)
        after, done = answer["after"], answer["done"]
        answers += 1
    assert [text for text in got if text[0] != "b"] == wanted
    assert len(got) == 80
    assert answers > 10


def moment(second):
    return f"2030-01-01T00:{second // 60:02}:{second % 60:02}Z"


def test_what_is_there_comes_in_the_order_of_time_over_all_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK_BYTES", 500)
    steps = [f"fit/{number}" for number in (0, 1, 2, 9, 10)]
    for number in range(200):
        write(tmp_path, steps[number % 5], line(str(number), moment(number)))
    got, after, done = [], None, False
    while not done:
        answer = read(tmp_path, after, ended=True, steps=steps)
        got += texts(answer)
        after, done = answer["after"], answer["done"]
    assert got == [str(number) for number in range(200)]


def test_a_clock_that_is_set_back_reorders_no_file(tmp_path):
    write(tmp_path, "a", line("1", moment(9)) + line("2", moment(3)) + line("3", moment(10)))
    write(tmp_path, "b", line("b", moment(5)))
    assert texts(read(tmp_path)) == ["b", "1", "2", "3"]
    write(tmp_path, "a", '{"time": "noon", "text": "4"}\n')
    assert read(tmp_path)["lines"][-1]["time"] is None


def test_the_cursor_of_as_many_elements_as_may_be_fits_an_address(tmp_path):
    steps = [f"fit/{number}" for number in range(1000)]
    for number, step in enumerate(steps):
        write(tmp_path, step, line("x" * (number * 7919 % 1000)))
    after, lines, done = None, 0, False
    while not done:
        answer = read(tmp_path, after, ended=True, steps=steps)
        after, done, lines = answer["after"], answer["done"], lines + len(answer["lines"])
        assert len(after) < 6000
    assert lines == 1000
    write(tmp_path, "fit/500", line("more"))
    assert texts(read(tmp_path, after, steps=steps)) == ["more"]


def test_a_line_longer_than_an_answer_gets_through(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK_BYTES", 100)
    monkeypatch.setattr(logs, "LINE_BYTES", 1000)
    write(tmp_path, "a", line("x" * 500) + line("end") + "y" * 3000)
    got, after, done = [], None, False
    while not done:
        answer = read(tmp_path, after, ended=True)
        got += texts(answer)
        after, done = answer["after"], answer["done"]
    assert "x" * 500 in got
    assert "end" in got
    assert "".join(text for text in got if text.startswith("y")) == "y" * 3000


def test_bytes_that_are_not_text_are_shown_as_they_can_be(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.jsonl").write_bytes(b"\xff\xfe\n")
    assert texts(read(tmp_path)) == ["\ufffd\ufffd"]


@pytest.mark.parametrize("cursor", ["?", "e30=x", "bnVsbA", "eyJhIjotMX0", "eyJhIjoiYiJ9", "é"])
def test_a_cursor_that_is_not_ours_is_refused(tmp_path, cursor):
    with pytest.raises(InvalidInput):
        read(tmp_path, cursor)


@pytest.mark.parametrize(
    "body",
    [
        *("null", "[]", "{", '{"a":-1}', '{"a":"b"}', '{"a":true}', '{"a":[1,[2]]}'),
        *(f'{{"a":{10**30}}}', "[" * 100_000, '{"a":' * 100_000, f"[0{',0' * 1_000_000}]"),
    ],
    ids=lambda body: body[:14],
)
def test_a_packed_cursor_that_is_not_ours_is_refused(tmp_path, body):
    cursor = base64.urlsafe_b64encode(zlib.compress(body.encode())).decode()
    with pytest.raises(InvalidInput):
        read(tmp_path, cursor)


def test_what_a_cursor_says_of_others_is_left_out(tmp_path):
    body = json.dumps({"a": 0, "x/y/z": 5, "b": [1, 2], "c": 7})
    cursor = base64.urlsafe_b64encode(zlib.compress(body.encode())).decode()
    write(tmp_path, "a", line("1"))
    assert texts(read(tmp_path, cursor)) == ["1"]


@given(
    pieces=st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=20)), max_size=20),
    cuts=st.lists(st.integers(0, 40), max_size=20),
    chunk=st.integers(1, 200),
)
@settings(max_examples=60, deadline=None)
def test_any_writing_and_reading_gives_every_line_once(tmp_path_factory, pieces, cuts, chunk):
    run_dir = tmp_path_factory.mktemp("run")
    whole = {"a": "", "b": ""}
    for step, text in pieces:
        whole[step] += line(text)
    got = {"a": [], "b": []}
    written = dict.fromkeys(whole, 0)
    patch = pytest.MonkeyPatch()
    patch.setattr(logs, "CHUNK_BYTES", chunk)
    after, done = None, False
    try:
        for cut in [*cuts, 10**9, None]:
            if cut is not None:
                for step, text in whole.items():
                    write(run_dir, step, text[written[step] : written[step] + cut])
                    written[step] += cut
            while not done:
                answer = read(run_dir, after, ended=cut is None)
                for entry in answer["lines"]:
                    got[entry["step"]].append(entry["text"])
                after, done = answer["after"], answer["done"]
                if cut is not None:
                    break
    finally:
        patch.undo()
    for step, lines in got.items():
        assert lines == [text for name, text in pieces if name == step]
