"""Who may use the test app of a deployment: one-time links, and the sessions they become.

Both live in memory only: a restart of the server ends them. A session does nothing but act
for a token on one deployment, and asks whether the token is still good each time.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from volant.errors import NotFound, Unauthenticated

LINK_S = 300.0
SESSION_S = 12 * 3600.0
_MOST = 1000  # links, and sessions; the oldest go first


@dataclass(frozen=True, slots=True)
class Session:
    """For whom a browser acts: `secret` is the token's."""

    deployment: str
    secret: str
    until: float


class AppSessions:
    """Links and sessions by the SHA-256 of their keys. Threads may share it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._links: dict[str, Session] = {}
        self._sessions: dict[str, Session] = {}

    def link(self, deployment: str, secret: str) -> str:
        """A key that opens one session, within `LINK_S` seconds."""
        session = Session(deployment, secret, self._monotonic() + LINK_S)
        return self._keep(self._links, session)

    def redeem(self, deployment: str, key: str) -> str:
        """The session's key, for the link's. Raises `NotFound` for one that was used, has
        run out or is another deployment's."""
        with self._lock:
            found = self._links.pop(_digest(key), None)
        if found is None or found.deployment != deployment or found.until < self._monotonic():
            raise NotFound(
                "This link was used already, or has run out.",
                f"Make another: volant app {deployment}",
                code="app.link_gone",
            )
        session = Session(deployment, found.secret, self._monotonic() + SESSION_S)
        return self._keep(self._sessions, session)

    def secret(self, deployment: str, key: str | None) -> str:
        """The token that a session acts for. Raises `Unauthenticated`."""
        with self._lock:
            found = self._sessions.get(_digest(key or ""))
        if found is None or found.deployment != deployment or found.until < self._monotonic():
            raise Unauthenticated(
                f"The page of {deployment} is closed for this browser.",
                f"Open it with: volant app {deployment}",
                code="app.no_session",
            )
        return found.secret

    def _keep(self, kept: dict[str, Session], session: Session) -> str:
        key = secrets.token_urlsafe(32)
        with self._lock:
            now = self._monotonic()
            for old in [digest for digest, each in kept.items() if each.until < now]:
                del kept[old]
            while len(kept) >= _MOST:
                del kept[next(iter(kept))]
            kept[_digest(key)] = session
        return key


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
