"""What keeps a revision's replicas from lasting, for who judges it."""

from __future__ import annotations

from dataclasses import dataclass

from volant.serving.pool import HOPELESS, Pool, settled


@dataclass(frozen=True, slots=True)
class Trouble:
    """`failures` of its replicas in a row, none of which lasted, and the last one's
    `problem`. `hopeless`: the next one won't last either."""

    failures: int
    problem: str
    hopeless: bool


def trouble(pool: Pool, now: float) -> Trouble | None:
    """None if there is none, and for a pool at rest: no more replicas are wanted than have
    lasted, so that nothing can show whether the next one would."""
    hopeless = pool.failures >= HOPELESS
    enough = len(pool.active) >= pool.wanted and all(settled(h, now) for h in pool.active)
    at_rest = enough and now >= pool.start_at
    if not pool.failures or (at_rest and not hopeless):
        return None
    return Trouble(pool.failures, pool.problem or "It ended.", hopeless)
