"""Clients of a deployment unload its model and load it again (the protocol's model
repository): the control plane's side.

A replica passes on what it was asked, the rollout's thread stores it, and the fleet does
it and answers the replica. What is stored decides: an unloaded model stays so through
restarts, and through new versions that go live meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from volant.errors import Unavailable, VolantError

Operator = Callable[[str | None, str, bool], str]
"""(SHA-256 of the token that was shown, or None where none is due; deployment; loaded) →
who it is. Raises `PermissionDenied` and `Unauthenticated`."""

Load = Callable[[str, str, bool], bool]
"""(deployment, by, loaded): store it; see `Steering.load`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`answer` is called once, from any thread: with None when it is stored."""

    deployment: str
    loaded: bool
    token: str | None
    answer: Callable[[VolantError | None], None]


class Repository:
    """`take` is called by the fleet's thread, the rest by the rollout's."""

    def __init__(self, load: Load, operator: Operator) -> None:
        self._load = load
        self._operator = operator
        self._asks: deque[Ask] = deque()
        self._stored: list[Ask] = []

    def take(self, ask: Ask) -> None:
        """It is answered after the next turn."""
        self._asks.append(ask)

    def turn(self) -> None:
        """Store what was asked."""
        while self._asks:
            ask = self._asks.popleft()
            try:
                by = self._operator(ask.token, ask.deployment, ask.loaded)
                self._load(ask.deployment, by, ask.loaded)
            except VolantError as error:
                ask.answer(error)
            else:
                self._stored.append(ask)

    def settle(self) -> None:
        """The fleet knows what is stored."""
        stored, self._stored = self._stored, []
        for ask in stored:
            ask.answer(None)

    def close(self) -> None:
        """No more turns follow."""
        while self._asks:
            self._asks.popleft().answer(Unavailable("The platform stops.", "Ask again later."))
        self.settle()
