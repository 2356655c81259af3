"""What a replica asks of the control plane for a client, and the answers: the replica's
side of `volant.serving.repository`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from volant.errors import Unavailable, VolantError, from_dict
from volant.serving.refusal import Refusal

Answered = Callable[[Refusal | None], None]

_STATUS = {
    "not_found": 404,
    "unauthenticated": 401,
    "permission_denied": 403,
    "invalid_input": 400,
}


PATIENCE_S = 150.0  # a model that takes longer to load gives up before


class Asks:
    """`say` sends a message to the control plane; false when it couldn't."""

    def __init__(
        self, say: Callable[[Mapping[str, Any]], bool], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._say = say
        self._loop = loop
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[bool, Answered]] = {}  # whether to load, and whom to tell

    @property
    def loading(self) -> bool:
        """Whether a load is under way that was asked for here."""
        return any(loaded for loaded, _ in self._waiting.values())

    def ask(self, *, loaded: bool, token: str | None, done: Answered) -> None:
        """Load or unload the deployment's model. `token` is the SHA-256 of the one that
        was shown. `done` is called once: with None when it is done."""
        number = next(self._numbers)
        self._waiting[number] = (loaded, done)
        self._loop.call_later(PATIENCE_S, self._too_late, number)
        kind = "load" if loaded else "unload"
        if not self._say({"type": kind, "id": number, "token": token}):
            self._too_late(number)

    def answered(self, message: Mapping[str, Any]) -> None:
        """The control plane says how it went."""
        found = self._waiting.pop(int(message.get("id", 0)), None)
        if found is None:
            return
        error = message.get("error")
        found[1](None if error is None else _refusal(from_dict(error)))

    def give_up(self) -> None:
        """Nobody will answer any more."""
        for number in list(self._waiting):
            self._too_late(number)

    def _too_late(self, number: int) -> None:
        self.answered({"id": number, "error": _gone().to_dict()})


def _gone() -> VolantError:
    return Unavailable("The control plane can't be asked now.", "Try again in a moment.")


def _refusal(error: VolantError) -> Refusal:
    status = _STATUS.get(type(error).code, 503)
    return Refusal(status, str(error), b"retry-after: 1\r\n" if status == 503 else b"")
