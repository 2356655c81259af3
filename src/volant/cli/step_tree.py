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

_REFERENCE = re.compile(r"\bsteps\.([A-Za-z0-9_-]+)\.outputs\b")

Needs = Mapping[str, frozenset[str]]


def tree(specs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(what stands before the name, name) of each step, from top to bottom."""
    needs = _needs(specs)
    order = _order(needs)
    below: dict[str | None, list[str]] = {}
    for name, gate in _gates(order, needs).items():
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
    order: list[str] = []
    left = list(needs)
    while left:
        name = next((name for name in left if needs[name] <= set(order)), left[0])
        order.append(name)
        left.remove(name)
    return order


def _gates(order: Sequence[str], needs: Needs) -> dict[str, str | None]:
    """Each step's immediate dominator, None when there is none (Cooper, Harvey, Kennedy: A
    Simple, Fast Dominance Algorithm)."""
    place = {name: index for index, name in enumerate(order)}
    gates: dict[str, str | None] = {}
    for name in order:
        known = sorted((need for need in needs[name] if need in gates), key=lambda n: place[n])
        gate: str | None = known[0] if known else None
        for other in known[1:]:
            gate = _meet(gate, other, gates, place)
        gates[name] = gate
    return gates


def _meet(
    one: str | None, other: str | None, gates: Mapping[str, str | None], place: Mapping[str, int]
) -> str | None:
    while one != other:
        if one is None or other is None:
            return None
        if place[one] > place[other]:
            one = gates[one]
        else:
            other = gates[other]
    return one


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
