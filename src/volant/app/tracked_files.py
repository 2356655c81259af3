"""Removes the artifacts of experiments that went with their project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from volant.domain.event import PROJECT_DELETED, Event
from volant.domain.tracking import WORKSPACES
from volant.errors import NotFound
from volant.ports.files import Files


def forgetting(files: Files) -> Mapping[str, Callable[[Event], None]]:
    """What the deletion of a project asks for, again if the process died before it was done.
    Only the folders of experiments are removed: the name may be another project's by now."""

    def forget(event: Event) -> None:
        for experiment in event.data.get("experiments", ()):
            with suppress(NotFound):
                files.delete(f"{WORKSPACES}/{event.data['project']}/{experiment}")

    return {PROJECT_DELETED: forget}
