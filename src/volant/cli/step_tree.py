"""The graph of a run's steps as a tree of text: what runs side by side stands side by side.

A step stands below the nearest one that every way to it leads through (its immediate
dominator). A chain goes straight down; where it splits, each branch is drawn apart, and a
step that waits for several branches comes after them, where the split began. So a run
whose steps follow one another is a plain list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from volant.workflows.gates import gates

_REFERENCE = re.compile(r"\bsteps\.([A-Za-z0-9_-]+)\.outputs\b")

Needs = Mapping[str, frozenset[str]]


def tree(specs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(what stands before the name, name) of each step, from top to bottom."""
    needs = _needs(specs)
    order = _order(needs)
    below: dict[str | None, list[str]] = {}
    for name, gate in gates(order, needs).items():
        below.setdefault(gate, []).append(name)
    return list(_drawn(below.get(None, []), "", below, needs))


def _needs(specs: Sequence[Mapping[str, Any]]) -> Needs:
    """What each step waits for: what it says, and what its expressions refer to."""
    names = {spec["name"] for spec in specs}
    found: dict[str, frozenset[str]] = {}
    for spec in specs:
        said = {*spec.get("needs", ()), *spec.get("after", ())}
        referred = set(_REFERENCE.findall(json.dumps(spec, default=str)))
        found[spec["name"]] = frozenset(((said | referred) & names) - {spec["name"]})
    return found


def _order(needs: Needs) -> list[str]:
    """Each after all that it needs; what can't be ordered comes last, as it is written."""
    order: dict[str, None] = {}
    left = list(needs)
    while left:
        name = next((name for name in left if needs[name] <= order.keys()), left[0])
        order[name] = None
        left.remove(name)
    return list(order)


def _drawn(
    group: Sequence[str], indent: str, below: Mapping[str | None, Sequence[str]], needs: Needs
) -> Iterator[tuple[str, str]]:
    """The steps of one gate, and all that is below them."""
    branches = [name for name in group if len(needs[name]) < 2]
    if len(branches) == 1:
        yield indent, branches[0]
        yield from _drawn(below.get(branches[0], ()), indent, below, needs)
        branches = []
    for name in branches:
        last = name == branches[-1]
        yield f"{indent}{'└─ ' if last else '├─ '}", name
        deeper = f"{indent}{'   ' if last else '│  '}"
        yield from _drawn(below.get(name, ()), deeper, below, needs)
    for name in group:
        if len(needs[name]) > 1:
            yield indent, name
            yield from _drawn(below.get(name, ()), indent, below, needs)
