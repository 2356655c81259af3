"""docs/workflows.md and the code tell the same of manifests."""

import re
from pathlib import Path

import pytest

from volant.domain.manifest import CODESET_FIELDS, INPUT_TYPES
from volant.errors import InvalidInput
from volant.workflows.expressions import EXTENSION_FIELDS
from volant.workflows.images import BUILT_IN
from volant.workflows.manifest import parse_manifest
from volant.workflows.uses import EFFECTS, USES

PAGE = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text()
KNOWN = re.compile(r"Use one of these keys: (.*?)\.(?:\n|$)")


def known_keys(text):
    """What the parser says when it is given a key that it lacks."""
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(text)
    for problem in caught.value.details["problems"]:
        found = KNOWN.search(problem["fix"])
        if found:
            return found[1].split(", ")
    raise AssertionError(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "qqqq: 1",
        "inputs: [{qqqq: 1}]",
        "outputs: [{qqqq: 1}]",
        "steps: [{qqqq: 1}]",
        "steps: [{inputs: [{qqqq: 1}]}]",
        "steps: [{inputs: [{codeset: {qqqq: 1}}]}]",
        "steps: [{outputs: [{qqqq: 1}]}]",
        "steps: [{extensions: [{qqqq: 1}]}]",
        "steps: [{env: [{qqqq: 1}]}]",
        "steps: [{resources: {qqqq: 1}}]",
        "on: {push: {qqqq: 1}}",
    ],
)
def test_every_key_is_explained(text):
    for key in known_keys(text):
        assert re.search(rf"\b{key}\b", PAGE), f"docs/workflows.md doesn't explain {key}"


def test_every_name_is_explained():
    for name in (*USES, *EFFECTS, *INPUT_TYPES):
        assert f"`{name}`" in PAGE, name
    for name in BUILT_IN:
        assert f"`{name}`" in PAGE or name.startswith("seldon-triton"), name
    for name in (*CODESET_FIELDS, *EXTENSION_FIELDS):
        assert f".{name}" in PAGE, name
