"""Times, numbers and texts as the terminal shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.cli.text import clean, clock, duration, number, pairs, size, took, word


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0s"),
        (0.44, "0.4s"),
        (12.4, "12s"),
        (59.6, "1m 0s"),
        (185, "3m 5s"),
        (7800, "2h 10m"),
        (3600 * 99, "4d 3h"),
    ],
)
def test_durations(seconds, told):
    assert duration(seconds) == told


@given(st.floats(min_value=0, max_value=1e9))
def test_durations_are_short(seconds):
    assert len(duration(seconds)) <= 10


@given(st.text())
def test_clean_text_cannot_steer_a_terminal(text):
    cleaned = clean(text)
    assert all(c in "\t\n" or not (ord(c) < 32 or 127 <= ord(c) < 160) for c in cleaned)


def test_clean_takes_whole_sequences():
    assert clean("a\x1b[1;31mb\x1b[0mc") == "abc"


def test_numbers():
    assert number(0.123456) == "0.1235"
    assert number(12) == "12"
    assert number(True) == "true"
    assert number(None) == "-"
    assert number("x") == "x"
    assert number(float("nan")) == "nan"
    assert pairs({"rmse": 0.5, "mae": 1}, 1) == "rmse 0.5, …"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a b", "a b"),
        (True, "true"),
        (None, "null"),
        (0.12345678, "0.12345678"),
        ({"a": [1, None, "ü"]}, '{"a": [1, null, "ü"]}'),
    ],
)
def test_a_value_in_the_words_of_json(value, told):
    assert word(value) == told


def test_sizes():
    assert [size(n) for n in (999, 1500, 2_500_000, 3e9)] == ["999 B", "1.5 kB", "2.5 MB", "3.0 GB"]


def test_times():
    assert clock("2026-03-01T12:00:00Z") == "2026-03-01 12:00:00"
    assert clock(None) == "-"
    assert took(None, None) == "-"
    assert took("2026-03-01T12:00:00Z", "2026-03-01T12:01:05+00:00") == "1m 5s"
