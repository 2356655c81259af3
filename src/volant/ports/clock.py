"""Time and identity, so that tests can hold both still."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, timezone-aware, in UTC."""
        ...


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A new identifier `<prefix>-<…>`, lower case, sortable by time of making."""
        ...
