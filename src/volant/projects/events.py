"""What the outbox is told of the things here."""

from __future__ import annotations

from typing import Any

from volant.domain.event import Event
from volant.ports.clock import Clock, Ids

_SOURCE = "volant/projects"


def event_of(clock: Clock, ids: Ids, noun: str, kind: str, name: str, **data: Any) -> Event:
    """That something of this kind happened to the `noun` of this name now."""
    return Event(
        id=ids.new("evt"),
        type=kind,
        source=_SOURCE,
        subject=f"{noun}/{name}",
        time=clock.now(),
        data={noun: name, **data},
    )
