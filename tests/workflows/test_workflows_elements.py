"""What a foreach goes over."""

import pytest

from volant.domain.workflow import MAX_ELEMENTS
from volant.errors import InvalidInput
from volant.workflows.elements import elements, references_in_elements, written_out
from volant.workflows.evaluation import Scope

SCOPE = Scope(
    {"list": [1, {"a": 2}], "json": '["x", 1]', "words": "x, y ,z", "empty": "", "one": "x"},
    {"s": {"tuple": (1, 2), "none": None, "map": {"a": 1}, "number": 3, "bad": "[1, 2"}},
)


@pytest.mark.parametrize(
    ("foreach", "found"),
    [
        ("{{ inputs.list }}", [1, {"a": 2}]),
        ("inputs.list", [1, {"a": 2}]),
        (" inputs.list ", [1, {"a": 2}]),
        ("{{ inputs.json }}", ["x", 1]),
        ("{{ inputs.words }}", ["x", "y", "z"]),
        ("{{ inputs.empty }}", []),
        ("{{ inputs.one }}", ["x"]),
        ("steps.s.outputs.tuple", [1, 2]),
        ("a, b", ["a", "b"]),
        ("a,,b", ["a", "", "b"]),
        ("[]", []),
        ('["a", {"b": "{{ inputs.one }}!"}, "{{ inputs.list.0 }}"]', ["a", {"b": "x!"}, 1]),
        ("{{ inputs.one }},{{ inputs.words }}", ["x", "x", "y", "z"]),
        (written_out(['"', "{{ inputs.one }}", "1.10"]), ['"', "x", "1.10"]),
    ],
)
def test_elements(foreach, found):
    assert elements(foreach, SCOPE, "steps.a.foreach") == found


@pytest.mark.parametrize(
    ("foreach", "said"),
    [
        ("steps.s.outputs.none", "must be a list, not null"),
        ("steps.s.outputs.map", "not a mapping"),
        ("{{ steps.s.outputs.number }}", "not 3"),
        ("steps.s.outputs.bad", "begins like a list"),
        ("['a', 'b']", "double quotes"),
        ("inputs.lst", "inputs.lst doesn't exist"),
        (",".join("a" * (MAX_ELEMENTS + 1)), "at most 1,000"),
    ],
)
def test_refused(foreach, said):
    with pytest.raises(InvalidInput) as caught:
        elements(foreach, SCOPE, "steps.a.foreach")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("foreach", "found"),
    [
        ("inputs.list", ["inputs.list"]),
        ("{{ steps.s.outputs.o }}", ["steps.s.outputs.o"]),
        ('["{{ inputs.a }}", "{{ inputs.b }}"]', ["inputs.a", "inputs.b"]),
        ("a, {{ inputs.a }}", ["inputs.a"]),
        ("inputs, steps", []),
    ],
)
def test_references(foreach, found):
    assert [str(each) for each in references_in_elements(foreach, "x")] == found
