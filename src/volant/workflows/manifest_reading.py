"""Small readings that every part of a manifest needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from yaml.nodes import Node, ScalarNode

from volant.workflows.plan import NAME
from volant.yamltext.problems import nearest
from volant.yamltext.reading import Reading, Section

NAME_FIX = "Use 1 to 63 letters, digits, '-' and '_', not starting with '-'."
MOST = 500  # inputs, outputs, steps; of a step's inputs, outputs, …


@dataclass(frozen=True, slots=True)
class Written:
    """A text of the manifest that may hold expressions.

    `kind` says how it is read: `text`; `condition` (a `when`); `elements` (a `foreach`);
    `codeset` (gives a codeset); `inputs` (text that only inputs may stand in). Three kinds
    are names, not expressions: `output` (a workflow's, to be found among the steps'),
    `needs` and `writes` (a step's output). `step` is the name of the step it belongs to,
    None outside of steps.
    """

    node: Node
    path: str
    text: str
    kind: str = "text"
    step: str | None = None


class Notes:
    """Gathers what may hold expressions. `step` is the name of the step that is read."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.step = ""
        self.written: list[Written] = []

    def note(self, node: Node, path: str, text: str, kind: str = "text") -> None:
        self.written.append(Written(node, path, text, kind, self.step))

    def text(self, section: Section, key: str, kind: str) -> str | None:
        """The key's text, noted; it must not be empty."""
        text = section.raw(key)
        if text is not None and text.strip():
            self.note(section.items[key], section.at(key), text, kind)
            return text
        if isinstance(section.items.get(key), ScalarNode):
            section.bad(key, f"{section.at(key)} is empty.", f"Write it, or delete {key}.")
        return None


class Names:
    """Names that must be right, and be there once."""

    def __init__(self, reading: Reading, noun: str) -> None:
        self.reading = reading
        self.noun = noun
        self.lines: dict[str, int] = {}

    def read(self, section: Section) -> str | None:
        """The section's `name`; None, having noted why, when it can't be used."""
        name = section.raw("name")
        if name is None:
            if "name" in section:
                section.bad("name", f"{section.at('name')} is empty.", NAME_FIX)
            return None
        return self.take(section.items["name"], section.at("name"), name)

    def take(self, node: Node, path: str, name: str) -> str | None:
        """As `read`, of a name that stands by itself."""
        if not NAME.fullmatch(name):
            what = f"{name[:80]!r} can't be the name of {_a(self.noun)}."
            self.reading.bad(node, path, what, NAME_FIX)
            return None
        if name in self.lines:
            what = f"There are two {self.noun}s named {name!r} (first in line {self.lines[name]})."
            self.reading.bad(node, path, what, "Rename one of them, or delete it.")
            return None
        self.lines[name] = node.start_mark.line + 1 if node.start_mark else 1
        return name


def named(reading: Reading, section: Section, name: str | None, form: re.Pattern[str]) -> bool:
    """Whether the section's `name` can be one; noted when it can't."""
    if name is not None and form.fullmatch(name):
        return True
    if "name" in section:
        what = f"{(name or '')[:80]!r} can't be a name here."
        section.bad("name", what, "Use letters, digits, '-' and '_'.")
    else:
        path = section.at("name")
        reading.bad(section.node, path, f"{path} is missing.", "Add the key name.")
    return False


def entries(reading: Reading, section: Section, key: str) -> list[tuple[Node, str]]:
    """The items of a list, each with its path; an empty value is an empty list."""
    node = section.child(key)
    if node is None or empty(node):
        return []
    items = reading.listing(node, section.at(key)) or []
    if len(items) > MOST:
        what = f"{section.at(key)} has {len(items):,} entries; at most {MOST} are read."
        reading.bad(node, section.at(key), what, "Use foreach for steps that are alike.")
    return [(item, f"{section.at(key)}[{i}]") for i, item in enumerate(items[:MOST])]


def texts(reading: Reading, section: Section, key: str) -> list[str]:
    """A list of values as they were written."""
    found = (reading.raw(item, path) for item, path in entries(reading, section, key))
    return [text for text in found if text is not None]


def empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "null"


def meant(word: str, known: Sequence[str]) -> str:
    """A sentence with the known word that was probably meant, or with all of them."""
    guess = nearest(word, known)
    return f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(known)}."


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
