"""What expressions come to: their values, and texts with them filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from volant.domain.workflow import ExtensionBinding
from volant.errors import InvalidInput
from volant.workflows.expressions import (
    EXTENSION_FIELDS,
    Chain,
    Compare,
    Expression,
    Literal,
    Not,
    Reference,
    nearest,
    parse_template,
)
from volant.workflows.values import number_of

_FALSE = ("", "false")
_CODESET = frozenset({"project", "name", "version", "url"})


@dataclass(frozen=True, slots=True)
class Scope:
    """What references mean: the workflow's inputs, outputs by step, and of one step its
    extensions and the present element of its `foreach`."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]
    extensions: Mapping[str, ExtensionBinding] = field(default_factory=dict[str, ExtensionBinding])
    item: Any = None


def evaluate(expression: Expression, scope: Scope) -> Any:
    """The expression's value. `and` and `or` give True or False."""
    match expression:
        case Literal(value):
            return value
        case Reference():
            return look_up(expression, scope)
        case Not(operand):
            return not holds(evaluate(operand, scope))
        case Compare(left, right, equal):
            return _same(evaluate(left, scope), evaluate(right, scope)) == equal
        case Chain(word, operands):
            values = (holds(evaluate(operand, scope)) for operand in operands)
            return all(values) if word == "and" else any(values)


def holds(value: Any) -> bool:
    """Whether a condition with this value is true. Inputs, and what commands write, are
    text: `false` and the empty text are false there too."""
    return value.strip().casefold() not in _FALSE if isinstance(value, str) else bool(value)


def look_up(reference: Reference, scope: Scope) -> Any:
    """The referenced value; raises `InvalidInput` with the nearest name there is."""
    path = reference.path
    match path[0]:
        case "inputs":
            value: Any = scope.inputs
            start = 1
        case "item":
            value = scope.item
            start = 1
        case "steps":
            value = _member(scope.outputs, path[1], reference, "steps")
            start = 3
        case _:
            value = _fields(_member(scope.extensions, path[1], reference, "extensions"))
            start = 2
    for index in range(start, len(path)):
        value = _member(value, path[index], reference, ".".join(path[:index]))
    return value


def _fields(binding: ExtensionBinding) -> Mapping[str, Any]:
    return {name: getattr(binding, name) for name in EXTENSION_FIELDS}


def render(value: Any, scope: Scope, where: str) -> Any:
    """`value` with every expression in its strings replaced, at any depth.

    A string that is one expression and nothing else keeps the value's type; in a
    longer string, text goes in as it is and everything else as JSON.
    """
    if isinstance(value, str):
        parts = parse_template(value, where)
        if len(parts) == 1 and not isinstance(parts[0], str):
            return evaluate(parts[0], scope)
        return "".join(
            part if isinstance(part, str) else _text(evaluate(part, scope)) for part in parts
        )
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: render(item, scope, f"{where}.{key}") for key, item in items}
    if isinstance(value, (list, tuple)):
        items = enumerate(cast("Sequence[Any]", value))
        return [render(item, scope, f"{where}[{index}]") for index, item in items]
    return value


def render_text(text: str, scope: Scope, where: str) -> str:
    """`text` with its expressions replaced, as text whatever their values are."""
    parts = parse_template(text, where)
    return "".join(p if isinstance(p, str) else _text(evaluate(p, scope)) for p in parts)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) != isinstance(right, str):
        left, right = _said(left, right), _said(right, left)
    # Python's True == 1 would make `when: steps.s.outputs.count == true` pass for 1.
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _said(value: Any, other: Any) -> Any:
    """What a text says, when it is compared with a number or with true or false."""
    if not isinstance(value, str):
        return value
    if isinstance(other, bool):
        return {"true": True, "false": False}.get(value.strip().casefold(), value)
    number = number_of(value) if isinstance(other, (int, float)) else None
    return value if number is None else number


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and cast("Mapping[str, Any]", value).keys() >= _CODESET:
        return "{url}:{version}".format(**cast("Mapping[str, Any]", value))
    return json.dumps(value, ensure_ascii=False)


def _member(value: Any, key: str, reference: Reference, inside: str) -> Any:
    names: list[str] = []
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        if key in mapping:
            return mapping[key]
        names = [str(name) for name in mapping]
    elif isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        if key.isdecimal() and int(key) < len(items):
            return items[int(key)]
        names = [str(index) for index in range(len(items))]
    raise InvalidInput(
        f"{reference} doesn't exist: {inside} has no {key!r}.",
        nearest(key, names),
        code="unknown_reference",
        details={"reference": str(reference), "known": names[:20]},
    )
