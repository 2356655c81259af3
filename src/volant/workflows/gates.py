"""Which step leads to which: for drawings of a workflow's graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def gates(order: Sequence[str], needs: Mapping[str, Collection[str]]) -> dict[str, str | None]:
    """Each step's immediate dominator: the nearest step that every way to it leads through,
    None when there is none. `order` has each step after all that it needs; needs that aren't
    in it don't count.

    Source: K. D. Cooper, T. J. Harvey, K. Kennedy, A Simple, Fast Dominance Algorithm, 2001;
    in a graph without circles one pass is enough.
    """
    place = {name: index for index, name in enumerate(order)}
    found: dict[str, str | None] = {}
    for name in order:
        known = sorted((need for need in needs[name] if need in found), key=lambda n: place[n])
        gate: str | None = known[0] if known else None
        for other in known[1:]:
            gate = _meet(gate, other, found, place)
        found[name] = gate
    return found


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
