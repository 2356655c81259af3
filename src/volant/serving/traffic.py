"""Which revision answers a request: the live replica's side of a split.

A request that names a version goes to it. Of the others a canary gets its percentage:
by the request's key when the deployment is sticky and the request has one, else by lot.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Parameters = Callable[[], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Route:
    """Another revision, and the Unix socket where it is reached. `mode` is `canary`,
    `shadow` or `held`; only the first two have a `percent`."""

    revision: int
    version: str
    percent: float
    mode: str
    socket: str


class Traffic:
    """The table that the fleet tells: `{"routes": […], "sticky": {"header" |
    "parameter": …} | None}`."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.routes = tuple(
            Route(
                int(one["revision"]),
                str(one["version"]),
                float(one["percent"]),
                str(one["mode"]),
                str(one["socket"]),
            )
            for one in message.get("routes") or ()
        )
        # The newest revision of a version speaks for it.
        ordered = sorted(self.routes, key=lambda r: r.revision)
        self.versions: Mapping[str, Route] = {route.version: route for route in ordered}
        self._canaries = tuple(r for r in ordered if r.mode == "canary" and r.percent > 0)
        shadows = [r for r in ordered if r.mode == "shadow" and r.percent > 0]
        self._shadow = shadows[-1] if shadows else None
        sticky = message.get("sticky") or {}
        self._header = str(sticky.get("header") or "").lower().encode()
        self._parameter = str(sticky.get("parameter") or "")
        # Not the module's own generator: it came with the fork, the same in every replica.
        self._random = random.Random()  # noqa: S311 - a lot, not a secret

    def choose(self, headers: Mapping[bytes, bytes], parameters: Parameters) -> Route | None:
        """Who answers a request that names no version; None: this replica. `parameters`
        is called only when the key is among them."""
        if not self._canaries:
            return None
        point = self._point(self._key(headers, parameters))
        for route in self._canaries:
            if point < route.percent:
                return route
            point -= route.percent
        return None

    def shadow(self) -> Route | None:
        """Who gets a copy of a request that this replica has answered, if anyone."""
        route = self._shadow
        if route is None or self._random.random() * 100 >= route.percent:
            return None
        return route

    def _key(self, headers: Mapping[bytes, bytes], parameters: Parameters) -> bytes | None:
        if self._header:
            return headers.get(self._header)
        if not self._parameter:
            return None
        value = (parameters() or {}).get(self._parameter)
        return None if value is None else str(value).encode(errors="replace")

    def _point(self, key: bytes | None) -> float:
        """From 0 to 100. A key keeps its point for as long as the first canary lasts, so
        that a growing percentage only adds to those who are in; the next canary's first
        are others."""
        if key is None:
            return self._random.random() * 100
        salt = b"%d\n" % self._canaries[0].revision
        digest = hashlib.blake2b(salt + key, digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64 * 100
