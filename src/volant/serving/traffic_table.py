"""The traffic table: what a live replica is told of the other revisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from volant.domain.loop import StickyKey
from volant.serving.desired import Other
from volant.serving.pool import Pool

TrafficTable = Mapping[str, Any]


def traffic_table(
    pools: Iterable[tuple[Pool, Other | None]], sticky: StickyKey | None, revision: int
) -> TrafficTable | None:
    """For a replica of `revision`: where the pools with an internal door are, each with
    its share (None: only requests that name its version go there); None when there are
    no such pools."""
    routes = [
        {
            "revision": pool.version.revision,
            "version": str(pool.version.version),
            "percent": other.percent if other is not None else 0.0,
            "mode": other.mode if other is not None else "held",
            "socket": pool.doors["internal"].address,
        }
        for pool, other in pools
        if "internal" in pool.doors and pool.version.revision != revision
    ]
    return {"routes": routes, "sticky": _key(sticky)} if routes else None


def _key(sticky: StickyKey | None) -> Mapping[str, str] | None:
    if sticky is None:
        return None
    if sticky.header is not None:
        return {"header": sticky.header.lower()}
    return {"parameter": sticky.parameter or ""}
