"""In which order a manifest's steps run.

A step waits for the steps that its `needs` names, and for those whose outputs it refers to,
in any of its fields. Steps that don't wait for each other run side by side. A step which
has neither, and whose outputs nobody refers to or needs, is tied to nothing that can be
seen, so it keeps its place in the line, as in FuseML: it comes after all steps above it,
and the steps below come after it. What is below and writes `needs`, be it `needs: []`, has
said what it waits for, and waits for that only. So a manifest in which no step refers to
another runs one step after the other.

"Above" is the written order, except that a step which refers to a later one comes below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """What one step says: the steps it refers to, and its `needs` (None: not written)."""

    refers: frozenset[str]
    needs: tuple[str, ...] | None = None

    @property
    def all(self) -> frozenset[str]:
        return self.refers | set(self.needs or ())


def circle(links: Mapping[str, Links]) -> list[str] | None:
    """Steps that wait for each other, the first one again at the end; None without any.
    Links to steps that don't exist are passed over."""
    waits = {name: link.all & links.keys() for name, link in links.items()}
    left = dict(waits)
    while True:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        if not free:
            break
        for name in free:
            del left[name]
    if not left:
        return None
    path: list[str] = []
    name = next(iter(left))
    while name not in path:
        path.append(name)
        name = min(waits[name] & left.keys())
    return [*path[path.index(name) :], name]


def places(links: Mapping[str, Links]) -> Mapping[str, tuple[str, ...]]:
    """For each step, the steps it waits for only to keep the line, beside `Links.all`.

    `links` is in the written order and has no circle.
    """
    linked = {name for link in links.values() for name in link.all}
    after: dict[str, tuple[str, ...]] = {}
    above: list[str] = []  # since the last step that stood alone
    alone: str | None = None
    for name in _downwards(links):
        link = links[name]
        barrier = () if alone is None else (alone,)
        if link.needs is None and not link.refers and name not in linked:
            held = any(links[each].needs is None for each in above)  # by `alone`, so we are
            after[name] = (*(() if held else barrier), *_ends(above, links))
            alone, above = name, []
        else:
            after[name] = barrier if link.needs is None else ()
            above.append(name)
    return after


def _downwards(links: Mapping[str, Links]) -> list[str]:
    """Every step after all that it waits for, otherwise as written."""
    order: list[str] = []
    done: set[str] = set()
    while len(order) < len(links):
        name = next(n for n, link in links.items() if n not in done and link.all <= done)
        order.append(name)
        done.add(name)
    return order


def _ends(names: Sequence[str], links: Mapping[str, Links]) -> list[str]:
    """Those of `names` that none of the others waits for."""
    waited = {need for name in names for need in links[name].all}
    return [name for name in names if name not in waited]
