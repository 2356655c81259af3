"""The expressions of a runnable: `{{ inputs.NAME }}`, `{{ outputs.NAME }}`, with `.path` or a
codeset's field behind, or with the name in brackets as in `{{ inputs[NAME].path }}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_REFERENCE = re.compile(
    r"\s*(inputs|outputs)(?:\.([A-Za-z0-9_-]+)|\[\s*['\"]?([A-Za-z0-9_-]+)['\"]?\s*\])"
    r"(?:\.(path|name|version|project|url))?\s*"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """`side` is `inputs` or `outputs`; `field` is what follows the name, if anything."""

    side: str
    name: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands between braces and is no reference."""

    text: str


def parts_of(text: str) -> Iterator[str | Reference | Unreadable]:
    """`text` in order: what stands in it as it is, and what it refers to."""
    position = 0
    for found in _EXPRESSION.finditer(text):
        if found.start() > position:
            yield text[position : found.start()]
        match = _REFERENCE.fullmatch(found[1])
        if match is None:
            yield Unreadable(found[1].strip())
        else:
            yield Reference(match[1], match[2] or match[3], match[4])
        position = found.end()
    if position < len(text):
        yield text[position:]
