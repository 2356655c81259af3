"""What a run is given, by type."""

import pytest
from tests.workflows.test_workflows_compile import CODE, PLAIN
from tests.workflows.test_workflows_manifest import OURS

from volant.errors import InvalidInput
from volant.workflows.bind import bind_inputs
from volant.workflows.manifest import parse_manifest


def test_inputs_are_bound():
    manifest = parse_manifest(OURS)
    given = {"base": "resnet", "rows": "wine", "rate": "2"}
    assert bind_inputs(manifest, given, CODE) == {
        "code": PLAIN,
        "sizes": "[1, 2]",
        "rate": 2,
        "base": "resnet",
        "rows": "wine",
    }
    other = {**PLAIN, "name": "d", "path": "/ignored"}
    again = bind_inputs(manifest, {**given, "code": other, "rate": 0.5, "sizes": True}, CODE)
    assert again["code"] == {**PLAIN, "name": "d"}
    assert (again["rate"], again["sizes"]) == (0.5, "true")
    assert bind_inputs(manifest, {**given, "code": CODE})["code"] == PLAIN
    assert bind_inputs(manifest, {**given, "rate": None}, CODE)["rate"] == 0.001


@pytest.mark.parametrize(
    ("given", "codeset", "said"),
    [
        ({}, CODE, "needs its input 'base'; it needs its input 'rows'"),
        ({}, None, "needs a codeset for its input 'code'"),
        ({"bsae": "x"}, CODE, "no input 'bsae'"),
        ({"bsae": "x"}, CODE, "Did you mean 'base'?"),
        ({"rate": "fast"}, CODE, "needs a number for 'rate', not 'fast'"),
        ({"rate": "inf"}, CODE, "needs a number"),
        ({"rate": True}, CODE, "needs a number"),
        ({"base": " "}, CODE, "a model's name"),
        ({"rows": 3}, CODE, "a dataset's name"),
        ({"code": "p/c"}, None, "needs a codeset for 'code', not 'p/c'"),
        ({"code": {"name": "c"}}, None, "needs a codeset for 'code'"),
        ({"sizes": ["a"]}, CODE, "needs text for 'sizes'"),
    ],
)
def test_inputs_that_are_wrong(given, codeset, said):
    with pytest.raises(InvalidInput) as caught:
        bind_inputs(parse_manifest(OURS), given, codeset)
    assert caught.value.error_code == "workflow.inputs"
    assert said in str(caught.value)
