"""A manifest's text as a graph of nodes that know their line and column.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `no` and `on` are text,
`1:30` is text, `1e-3` is a number. Anchors, aliases and tags are refused: nothing in
a manifest needs them, and without them a small file can't unfold into a huge one.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.events import AliasEvent
from yaml.nodes import Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from volant.yamltext.problems import Problem

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 40

# YAML 1.2's core schema (https://yaml.org/spec/1.2.2/, section 10.3.2)
_CORE = (
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        "float",
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
    ),
)


def core_tag(text: str) -> str:
    """What a plain, unquoted scalar means: `str`, `int`, `float`, `bool` or `null`."""
    return next((tag for tag, pattern in _CORE if pattern.fullmatch(text)), "str")


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return core_tag(value) if implicit[0] else "str"
        return "seq" if kind is SequenceNode else "map"

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event: Any = self.peek_event()
        mark = event.start_mark
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise ComposerError(None, None, "anchors and aliases (& and *) aren't allowed", mark)
        if event.tag is not None:
            raise ComposerError(None, None, f"the tag {event.tag!r} isn't allowed", mark)
        if self.depth >= MAX_DEPTH:
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def document(
    text: str, noun: str = "loop", start: str = "Run: volant init --from data.csv"
) -> Node | Problem:
    """The one document in `text`, or what is wrong with its YAML.

    Args:
        text: All of the file.
        noun: What a file of this kind describes.
        start: What to do when it is empty.
    """
    if len(text) > MAX_CHARACTERS:
        return Problem(
            1,
            1,
            "",
            f"The file has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.",
            f"Point at the {noun}'s own file; data belongs in a dataset.",
        )
    try:
        return _compose(text, noun, start)
    except ReaderError as error:
        return _unprintable(text, error)
    except yaml.MarkedYAMLError as error:
        return _syntax(error)
    except (ValueError, ArithmeticError, LookupError) as error:
        # PyYAML lets a few of these through, for escapes like "\UFFFFFFFF".
        return Problem(
            1,
            1,
            "",
            f"The file isn't valid YAML: {error}.",
            "Look for an escape (\\x, \\u, \\U) or a %YAML line that can't be read.",
        )


def _compose(text: str, noun: str, start: str) -> Node | Problem:
    loader = _Loader(text)
    if not loader.check_node():
        return Problem(1, 1, "", "The file is empty.", start)
    node = loader.get_node()
    if node is None:  # can't be, after check_node
        return Problem(1, 1, "", "The file is empty.", start)
    if loader.check_node():
        mark = loader.peek_event().start_mark  # pyright: ignore[reportOptionalMemberAccess]
        return Problem(
            mark.line + 1,
            mark.column + 1,
            "",
            f"A second document starts here (after ---); a file holds one {noun}.",
            f"Put each {noun} into a file of its own.",
        )
    return node


def _unprintable(text: str, error: ReaderError) -> Problem:
    before = text[: error.position]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Problem(
        line,
        column,
        "",
        f"The character U+{ord(text[error.position]):04X} isn't allowed in YAML.",
        "Delete it, and save the file as UTF-8 text.",
    )


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "it can't be read"
    if "\\t" in said:
        fix = "Indent with spaces; YAML takes no tabs."
    elif "anchors and aliases" in said:
        fix = "Write the value out where it is needed; quote text that begins with & or *."
    elif "the tag" in said:
        fix = "Delete the tag; quote text that begins with an exclamation mark."
    else:
        fix = "Check the indentation, the colons and the quotes around this line."
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(line, column, "", f"The file isn't valid YAML: {said}.", fix)
