"""The verbs on runnables: register, update, delete, and use them in manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from volant.domain.event import RUNNABLE_DELETED, RUNNABLE_REGISTERED, RUNNABLE_UPDATED
from volant.domain.manifest import Manifest
from volant.domain.runnable import Runnable
from volant.ports.clock import Clock, Ids
from volant.ports.projects import RunnableRecords
from volant.projects.events import event_of
from volant.projects.expand import PREFIX, expand_manifest
from volant.projects.runnable_file import FILE, read_runnable


class RunnableDesk:
    """The verbs on runnables.

    Args:
        records: Where they are stored.
        clock: For the times of creation and change.
        ids: For events' identity.
    """

    def __init__(self, records: RunnableRecords, clock: Clock, ids: Ids) -> None:
        self._records = records
        self._clock = clock
        self._event = partial(event_of, clock, ids, "runnable")

    def register(self, source: str, *, file: str = FILE, by: str | None = None) -> Runnable:
        """A new runnable from its file's text; the same again changes nothing.

        Raises `InvalidInput` with every fault of the file, `Conflict` when another has its
        id.
        """
        spec = read_runnable(source, file)
        now = self._clock.now()
        event = self._event(RUNNABLE_REGISTERED, spec.id, by=by)
        return self._records.create(Runnable(spec, now, now), event)

    def update(self, source: str, *, file: str = FILE, by: str | None = None) -> Runnable:
        """Its next generation; runs under way go on with the one they began with. Raises
        `InvalidInput`, `NotFound`."""
        spec = read_runnable(source, file)
        return self._records.update(spec, self._event(RUNNABLE_UPDATED, spec.id, by=by))

    def get(self, runnable_id: str) -> Runnable:
        """Raises `NotFound` with the nearest id."""
        return self._records.get(runnable_id)

    def list(self, *, kind: str | None = None) -> Sequence[Runnable]:
        """All, or those of a kind; by id."""
        return [each for each in self._records.list() if kind in (None, each.spec.kind)]

    def delete(self, runnable_id: str, *, by: str | None = None) -> None:
        """Workflows that use it can't start another run. Raises `NotFound`."""
        self._records.delete(runnable_id, self._event(RUNNABLE_DELETED, runnable_id, by=by))

    # in workflows

    def uses(self) -> Mapping[str, tuple[str, ...]]:
        """What a manifest's `uses:` may name, with the outputs that each writes."""
        return {
            PREFIX + each.spec.id: tuple(port.name for port in each.spec.outputs)
            for each in self._records.list()
        }

    def expand(self, manifest: Manifest) -> Manifest:
        """`manifest` with its steps that use runnables as plain steps; see
        `expand_manifest`."""
        return expand_manifest(manifest, lambda name: self._records.get(name).spec)
