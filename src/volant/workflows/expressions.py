"""Expressions in manifests: `{{ inputs.x }}`, `{{ steps.s.outputs.a.b }}` and `when:`.

References start with `inputs`, with `steps`, with `extensions` (the step's own, by the name
it gives them: `{{ extensions.e.url }}`, `{{ extensions.e.cfg.KEY }}`), or are `item`, the
present element of the step's `foreach`. An input that is a codeset has fields (`name`,
`project`, `version`, `url`); alone it is all of them, and within a text `url:version`.

The grammar, loosest first; nothing here is ever handed to Python's `eval`:

    or      = and ("or" and)*
    and     = not ("and" not)*
    not     = "not" not | compare
    compare = value (("==" | "!=") value)?
    value   = literal | path | "(" or ")" | "{{" or "}}"
    path    = ("inputs" | "steps" | "extensions") ("." name-or-index)+
            | "item" ("." name-or-index)*
    literal = number | 'text' | "text" | true | false | null

A literal `{{` in a text is written `{{ '{{' }}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from volant.errors import InvalidInput
from volant.yamltext import problems

ROOTS = ("inputs", "steps", "extensions", "item")
EXTENSION_FIELDS = (
    *("product", "version", "zone", "service_resource", "service_category", "url", "cfg"),
)

MAX_LENGTH = 4000  # characters of one expression
MAX_DEPTH = 40  # levels of parentheses and `not`s
_SHOWN = 60  # characters of a text around where it can't be read

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<sign>\{\{|\}\}|==|!=|\(|\))
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<path>[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t"}
_WORDS: dict[str, Any] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Reference:
    """`path` starts with one of `ROOTS`."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression


@dataclass(frozen=True, slots=True)
class Compare:
    left: Expression
    right: Expression
    equal: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands joined by `and` or `or`."""

    word: str
    operands: tuple[Expression, ...]


Expression = Literal | Reference | Not | Compare | Chain


_FORMS = {
    "inputs": "inputs.NAME",
    "steps": "steps.STEP.outputs.NAME",
    "extensions": "extensions.NAME.url, or another of its fields, or extensions.NAME.cfg.KEY",
}


def _whole(path: tuple[str, ...]) -> bool:
    """Whether a path goes as far as its first word asks for."""
    match path[0]:
        case "item":
            return True
        case "inputs":
            return len(path) >= 2
        case "steps":
            return len(path) >= 3 and path[2] == "outputs"
        case _:
            return len(path) == (4 if path[2:3] == ("cfg",) else 3)


def _around(text: str, position: int) -> str:
    """A short text whole, of a long one what is near `position`."""
    if len(text) <= 2 * _SHOWN:
        return text
    return f"…{text[max(0, position - _SHOWN) : position + _SHOWN]}…"


def nearest(name: str, known: Sequence[str]) -> str:
    """A sentence that helps with a misspelt name: the closest, else all of them."""
    found = problems.nearest(name, known)
    if found is not None:
        return f"Did you mean {found!r}?"
    if known:
        return f"Known names: {', '.join(sorted(known)[:20])}."
    return "There are none to refer to."


class _Parser:
    """Recursive descent over one text, from `position` on."""

    def __init__(self, text: str, position: int, where: str) -> None:
        self.text = text
        self.where = where
        self.position = position
        self.depth = 0
        self.kind = ""
        self.word = ""
        self.start = position
        self.advance()

    def fail(self, expected: str) -> InvalidInput:
        found = repr(self.word) if self.kind else "the end"
        if self.kind == "bad":
            found = repr(self.text[self.start : self.start + 10])
        return InvalidInput(
            f"{self.where}: expected {expected}, found {found} at character"
            f" {self.start + 1} of {_around(self.text, self.start)!r}.",
            "Write a reference like {{ steps.train.outputs.metric }}, or a condition of"
            " references and literals with ==, !=, not, and, or.",
            code="invalid_expression",
            details={
                "where": self.where,
                "expression": _around(self.text, self.start),
                "position": self.start,
            },
        )

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            rest = self.text[self.position :]
            self.start = self.position + len(rest) - len(rest.lstrip())
            self.kind = "bad" if rest.strip() else ""
            self.word = ""
            return
        self.kind = cast("str", match.lastgroup)
        self.word = match.group(self.kind)
        self.start = match.start(self.kind)
        self.position = match.end()

    def take(self, word: str) -> bool:
        if self.kind in ("sign", "path") and self.word == word:
            self.advance()
            return True
        return False

    def expect_close(self, word: str) -> int:
        """Step over `word` without looking at what follows; where it ended."""
        if self.kind != "sign" or self.word != word:
            raise self.fail(repr(word))
        return self.position

    def expression(self) -> Expression:
        return self.chain("or")

    def chain(self, word: str) -> Expression:
        inner = self.negation if word == "and" else lambda: self.chain("and")
        operands = [inner()]
        while self.take(word):
            operands.append(inner())
        return operands[0] if len(operands) == 1 else Chain(word, tuple(operands))

    def negation(self) -> Expression:
        if not self.take("not"):
            return self.comparison()
        self.deeper()
        operand = self.negation()
        self.depth -= 1
        return Not(operand)

    def comparison(self) -> Expression:
        left = self.value()
        for sign in ("==", "!="):
            if self.take(sign):
                return Compare(left, self.value(), sign == "==")
        return left

    def value(self) -> Expression:
        kind, word = self.kind, self.word
        if kind == "text":
            self.advance()
            return Literal(_ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), word[1:-1]))
        if kind == "number":
            self.advance()
            return Literal(float(word) if set(word) & set(".eE") else int(word))
        if kind == "sign" and word in ("(", "{{"):
            self.deeper()
            self.advance()
            inner = self.expression()
            self.expect_close(")" if word == "(" else "}}")
            self.advance()
            self.depth -= 1
            return inner
        if kind == "path" and word in _WORDS:
            self.advance()
            return Literal(_WORDS[word])
        if kind == "path" and word not in ("and", "or", "not"):
            reference = self.reference(word)
            self.advance()
            return reference
        raise self.fail("a reference or a literal")

    def reference(self, word: str) -> Reference:
        path = tuple(word.split("."))
        if path[0] not in ROOTS:
            raise InvalidInput(
                f"{self.where}: {word!r} refers to nothing.",
                "References start with 'inputs.', 'steps.' or 'extensions.', or are 'item';"
                f" put text in quotes. {nearest(path[0], ROOTS)}",
                code="unknown_reference",
                details={"where": self.where, "reference": word},
            )
        if not _whole(path):
            raise InvalidInput(
                f"{self.where}: {word!r} isn't a whole reference.",
                f"Write {_FORMS[path[0]]}.",
                code="unknown_reference",
                details={"where": self.where, "reference": word},
            )
        return Reference(path)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"at most {MAX_DEPTH} levels")


def parse_condition(text: str, where: str) -> Expression:
    """Parse a `when:`; raises `InvalidInput` that names `where` and the character."""
    _check_length(text, where)
    parser = _Parser(text, 0, where)
    expression = parser.expression()
    if parser.kind:
        raise parser.fail("and, or, ==, != or the end")
    return expression


def parse_template(
    text: str, where: str, faults: list[InvalidInput] | None = None
) -> list[str | Expression]:
    """Split a text into its literal parts and its `{{ … }}` expressions.

    Raises `InvalidInput` for the first that can't be read; with `faults`, leaves each such
    one out and adds its error there.
    """
    parts: list[str | Expression] = []
    position = 0
    while (opening := text.find("{{", position)) >= 0:
        if opening > position:
            parts.append(text[position:opening])
        try:
            parser = _Parser(text, opening + 2, where)
            expression = parser.expression()
            position = parser.expect_close("}}")
            _check_length(text[opening:position], where)
        except InvalidInput as error:
            if faults is None:
                raise
            faults.append(error)
            closing = text.find("}}", opening)
            position = len(text) if closing < 0 else closing + 2
        else:
            parts.append(expression)
    if position < len(text):
        parts.append(text[position:])
    return parts


def references_of(expression: Expression) -> Iterator[Reference]:
    """Every reference in an expression."""
    match expression:
        case Reference():
            yield expression
        case Not(operand):
            yield from references_of(operand)
        case Compare(left, right):
            yield from references_of(left)
            yield from references_of(right)
        case Chain(_, operands):
            for operand in operands:
                yield from references_of(operand)
        case Literal():
            return


def references_in(
    value: Any, where: str, faults: list[InvalidInput] | None = None
) -> Iterator[Reference]:
    """Every reference in the strings of a JSON value, at any depth; `faults` as in
    `parse_template`."""
    if isinstance(value, str):
        for part in parse_template(value, where, faults):
            if not isinstance(part, str):
                yield from references_of(part)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            yield from references_in(item, f"{where}.{key}", faults)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[Any]", value)):
            yield from references_in(item, f"{where}[{index}]", faults)


def _check_length(text: str, where: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidInput(
            f"{where}: the expression has {len(text)} characters.",
            f"Keep it under {MAX_LENGTH}; compute the rest in a step.",
            code="invalid_expression",
        )
