"""What a step's `foreach` goes over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from volant.domain.workflow import MAX_ELEMENTS
from volant.errors import InvalidInput
from volant.workflows.evaluation import Scope, evaluate, render
from volant.workflows.expressions import (
    ROOTS,
    Reference,
    parse_condition,
    references_in,
    references_of,
)

_FIX = 'Give a list, a text like ["a", "b"], or a text like a, b.'
_BARE = re.compile(rf"\s*(?:{'|'.join(ROOTS)})(?:\.[A-Za-z0-9_-]+)+\s*")


def elements(foreach: str, scope: Scope, where: str) -> Sequence[Any]:
    """The elements of a `foreach`, in order.

    It is an expression (`{{ steps.s.outputs.o }}`, or without the braces), or a list that
    is written out: JSON whose texts may hold expressions, or words with commas between
    them. The value of an expression is a list, or a text that is written in one of these
    two ways; an empty text has no elements.

    Raises:
        InvalidInput: The value is something else, or has more than `MAX_ELEMENTS`.
    """
    if _BARE.fullmatch(foreach):
        value = evaluate(parse_condition(foreach, where), scope)
    elif (written := _json_list(foreach)) is not None:
        value = render(written, scope, where)
    else:
        value = render(foreach, scope, where)
    found = _listed(value, where)
    if len(found) > MAX_ELEMENTS:
        raise InvalidInput(
            f"{where} has {len(found):,} elements; at most {MAX_ELEMENTS:,} are gone over.",
            "Let each step take a part of the list.",
            code="invalid_foreach",
            details={"where": where, "elements": len(found)},
        )
    return found


def references_in_elements(
    foreach: str, where: str, faults: list[InvalidInput] | None = None
) -> Iterator[Reference]:
    """Every reference in a `foreach`; `faults` as in `parse_template`."""
    if _BARE.fullmatch(foreach):
        yield from references_of(parse_condition(foreach, where))
    else:
        written = _json_list(foreach)
        yield from references_in(foreach if written is None else written, where, faults)


def written_out(items: Sequence[str]) -> str:
    """A `foreach` that goes over these texts."""
    return json.dumps(list(items), ensure_ascii=False)


def _listed(value: Any, where: str) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(cast("Sequence[Any]", value))
    if not isinstance(value, str):
        noun = "a mapping" if isinstance(value, dict) else json.dumps(value)[:80]
        raise InvalidInput(
            f"{where} must be a list, not {noun}.",
            _FIX,
            code="invalid_foreach",
            details={"where": where},
        )
    written = _json_list(value)
    if written is not None:
        return written
    if value.lstrip().startswith("["):
        raise InvalidInput(
            f"{where} begins like a list, but isn't one: {value[:80]!r}.",
            f"{_FIX} Texts in a list need double quotes.",
            code="invalid_foreach",
            details={"where": where},
        )
    words = [word.strip() for word in value.split(",")]
    return [] if words == [""] else words


def _json_list(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("list[Any]", value) if isinstance(value, list) else None
