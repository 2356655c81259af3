"""Where extensions are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from volant.domain.event import Event
from volant.domain.extension import Extension

Edit = Callable[[Extension], Extension]


class ExtensionRecords(Protocol):
    """Every write stores its event in the same transaction."""

    def register(self, extension: Extension, event: Event) -> None:
        """Raises `Conflict` for an id that is taken."""
        ...

    def change(self, extension_id: str, edit: Edit, event: Event) -> Extension:
        """Store what `edit` makes of the record; nothing when it raises. Nobody else's
        change comes in between. Raises `NotFound`."""
        ...

    def change_all(self, edit: Edit, event: Event) -> None:
        """The same for every record, all of it or nothing."""
        ...

    def delete(self, extension_id: str, event: Event) -> None:
        """Raises `NotFound`."""
        ...

    def get(self, extension_id: str) -> Extension:
        """Raises `NotFound`."""
        ...

    def list(self) -> Sequence[Extension]:
        """By id."""
        ...
