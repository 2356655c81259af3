"""The stored codesets; the common rules are those of `ports/records.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from volant.domain.codeset import Codeset, Mirror
from volant.domain.event import Event


class CodesetRecords(Protocol):
    def register(self, codeset: Codeset, event: Event) -> Codeset:
        """Store it with the event; one that is stored is returned, and no event stored."""
        ...

    def describe(
        self, project: str, name: str, *, description: str | None, labels: Sequence[str] | None
    ) -> Codeset:
        """Change what isn't None."""
        ...

    def get(self, project: str, name: str) -> Codeset: ...

    def list(self, *, project: str | None = None, label: str | None = None) -> Sequence[Codeset]:
        """By project, then by name."""
        ...

    def pushed(self, before: Codeset, after: Codeset, event: Event) -> bool:
        """Guarded by the count of pushes in `before`: branch, head and count are those of
        `after`, and the event is stored, in one transaction."""
        ...

    def delete(self, project: str, name: str, event: Event) -> None:
        """With its mirror."""
        ...

    def set_mirror(self, mirror: Mirror) -> Mirror:
        """Store it and the codeset's origin. One that is stored keeps its salt."""
        ...

    def mirror(self, project: str, name: str) -> Mirror | None: ...

    def mirrors(self) -> Sequence[Mirror]: ...

    def tried(self, project: str, name: str, at: datetime, error: str | None) -> None:
        """How the last fetch of a mirror ended; does nothing for one that is gone."""
        ...
