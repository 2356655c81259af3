"""Examples as people write them, and what is none."""

from __future__ import annotations

import json

import pytest

from volant.errors import InvalidInput
from volant.formats.example import read_example


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"columns": ["area", "rooms"], "data": [[1]]}, "another number of values"),
        ({"columns": ["area"], "data": [1]}, "another number of values"),
        ({"columns": ["area", "area"], "data": [[1, 2]]}, "the same name"),
        ({"columns": 5, "data": 5}, "aren't lists"),
        ({"columns": ["area"], "data": {"area": 1}}, "aren't lists"),
        ({"dataframe_split": 5}, "is no object"),
        ({"dataframe_split": {"columns": [], "data": []}}, "at least one row"),
        ([[]], "no values"),
        ([None], "no values"),
        ([], "neither an object nor a list"),
        (5, "neither an object nor a list"),
    ],
)
def test_what_is_no_example_is_refused_with_words(body, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        read_example(json.dumps(body), "json")
    assert caught.value.error_code == "model.example"


@pytest.mark.parametrize(
    "body",
    [
        {"columns": ["area", "rooms"], "data": [[70, 3], [50, None]]},
        {"dataframe_split": {"columns": ["area", "rooms"], "data": [[70, 3], [50, None]]}},
        [{"area": 70, "rooms": 3}, {"area": 50}],
        {"area": [70, 50], "rooms": [3, None]},
    ],
)
def test_rows_have_many_forms(body):
    found = read_example(json.dumps(body), "json")
    assert found.columns == {"area": [70, 50], "rooms": [3, None]}
