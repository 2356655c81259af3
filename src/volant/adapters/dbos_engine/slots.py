"""How many steps may work at once in this process."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from volant.adapters.dbos_engine.database import Halt


class Slots:
    """A bound on steps at work.

    A run takes a slot for a step before it starts it (`grant`, without waiting), so that
    a step that can't work yet stays queued. A step that DBOS started again after a crash
    comes without one and waits for it (`hold`).
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._granted: set[str] = set()
        self._waiting: set[threading.Event] = set()
        self._changed = threading.Condition()
        self._closed = False

    def grant(self, step: str, wake: threading.Event) -> bool:
        """Take a slot for `step` if one is free; else set `wake` when one may be."""
        with self._changed:
            if self._free <= 0:
                self._waiting.add(wake)
                return False
            self._free -= 1
            self._granted.add(step)
            self._waiting.discard(wake)
            return True

    def withdraw(self, step: str) -> None:
        """Give back a granted slot that wasn't used."""
        with self._changed:
            if step in self._granted:
                self._granted.discard(step)
                self._release()

    @contextmanager
    def hold(self, step: str) -> Generator[None]:
        """Work within a slot: the granted one, else the next that is free."""
        with self._changed:
            if step in self._granted:
                self._granted.discard(step)
            else:
                self._changed.wait_for(lambda: self._free > 0 or self._closed)
                if self._closed:
                    raise Halt
                self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._release()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _release(self) -> None:
        self._free += 1
        self._changed.notify()
        for event in self._waiting:
            event.set()
        self._waiting.clear()
