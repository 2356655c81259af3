"""What applying a loop would change, path by path, in the file's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from volant.domain.loop import LoopSpec
from volant.loops.render import document_of
from volant.yamltext.reading import join

_WHOLE = ("train.params", "data.contract.columns")  # each of their keys is one change


@dataclass(frozen=True, slots=True)
class Change:
    """`before` or `after` is None where the key is absent on that side."""

    path: str
    before: Any
    after: Any


def changes(before: LoopSpec | None, after: LoopSpec) -> list[Change]:
    """The paths whose values differ, in the file's order; all of them for a new loop."""
    old = dict(_flat(document_of(before), "")) if before is not None else {}
    new = dict(_flat(document_of(after), ""))
    paths = [*new, *(path for path in old if path not in new)]
    return [
        Change(path, old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path) or (path in old) != (path in new)
    ]


def _flat(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        here = join(path, key)
        if isinstance(item, Mapping) and path not in _WHOLE:
            yield from _flat(item, here)
        else:
            yield here, item
