"""What a deployment's replicas have told of their work, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from volant.serving.replica_handle import ReplicaHandle

# What a live replica counts for each other revision: requests that it answered, and
# those that it couldn't be reached for; copies that it answered, of these those that were
# compared, that differed and that failed (5xx); and copies left out because too many were
# under way.
ROUTE_COUNTS = ("forwarded", "unreached", "mirrored", "compared", "differed", "failed", "dropped")


class Tally:
    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self._routes: dict[int, Counter[str]] = {}

    def add(self, handle: ReplicaHandle, message: Mapping[str, Any], now: float) -> None:
        """Take a replica's `stats`. Only the revision that answers a request counts it,
        and a shadow's copies are nobody's requests."""
        errors = handle.errors
        self.requests += handle.take_stats(message, now)
        self.errors += handle.errors - errors
        for key, counts in message.get("routes", {}).items():
            seen = handle.routes.get(key, {})
            total = self._routes.setdefault(int(key), Counter())
            new = {n: int(counts.get(n, 0)) - int(seen.get(n, 0)) for n in ROUTE_COUNTS}
            total.update(new)
            self.requests -= new["mirrored"]
            self.errors -= new["failed"]
            handle.routes[key] = counts

    def route(self, revision: int) -> dict[str, int]:
        """The counts of one revision, all of `ROUTE_COUNTS`."""
        counts = self._routes.get(revision, {})
        return {name: counts.get(name, 0) for name in ROUTE_COUNTS}
