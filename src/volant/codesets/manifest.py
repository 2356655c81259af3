"""A `volant.yaml` that only tells what a codeset's pushes must pass: `kind: Codeset`."""

from __future__ import annotations

from yaml.nodes import MappingNode, ScalarNode

from volant.yamltext.commands import commands_of
from volant.yamltext.nodes import document
from volant.yamltext.problems import Problem, error_of
from volant.yamltext.reading import Reading

FILE = "volant.yaml"
KIND = "Codeset"
_KEYS = ("kind", "description", "tests")


def tests_of(text: str) -> tuple[str, ...] | None:
    """The commands under `tests`; None when the file is of another kind, or can't be read
    at all. Raises `InvalidInput` for what is wrong in it."""
    root = document(text)
    if isinstance(root, Problem) or _kind(root) != KIND:
        return None
    reading = Reading()
    top = reading.section(root, "", _KEYS, required=("tests",))
    found = () if top is None else commands_of(top, "tests")
    if reading.problems:
        raise error_of(reading.problems, FILE, "codeset.manifest")
    return found


def _kind(root: object) -> str | None:
    if isinstance(root, MappingNode):
        for key, value in root.value:
            named = isinstance(key, ScalarNode) and key.value == "kind"
            if named and isinstance(value, ScalarNode):
                return value.value
    return None
