from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.codesets.names import NAME, check_names, check_version, safe_path
from volant.errors import InvalidInput


@given(st.text(max_size=80))
def test_a_name_that_passes_is_one_harmless_path_segment(text):
    try:
        check_names("p", text)
    except InvalidInput:
        assert NAME.fullmatch(text) is None
        return
    assert "/" not in text
    assert not text.startswith((".", "-"))
    assert text == text.lower()
    assert 0 < len(text) < 64
    assert text.isascii()


@given(st.text(alphabet="ab/.\\-\0\n ~", max_size=40))
def test_a_path_that_passes_stays_inside(text):
    try:
        path = safe_path(text)
    except InvalidInput:
        return
    parts = path.split("/") if path else []
    assert ".." not in parts
    assert "." not in parts
    assert not path.startswith("/")
    assert safe_path(path) == path


@given(st.text(max_size=60))
def test_a_version_that_passes_is_no_option_and_no_expression(text):
    try:
        check_version(text)
    except InvalidInput:
        return
    assert not text.startswith("-")
    assert not set(text) & set("~^:{}*?[\\ \n\0\x7f")
    assert not text.startswith("@")
    text.encode()  # nothing that no process can be given
    assert ".." not in text


@pytest.mark.parametrize("path", ["", ".", "./", "a/./b", "a//b/"])
def test_plain_paths_are_made_normal(path):
    assert safe_path(path) in ("", "a/b")


@pytest.mark.parametrize(
    "branch",
    ["größe", "ünï", "分支", "हिन्दी", "e\u0301te", "fix/#12", "bot/@types/node-1.2", "a=b,c"],
)
def test_branches_as_people_call_them(branch):
    check_version(branch)
