"""What the checks of the records ports share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Protocol, TypeVar

from volant.errors import VolantError
from volant.ports.records import (
    AuditRecords,
    DatasetRecords,
    DecisionRecords,
    DeploymentRecords,
    EventRecords,
    LoopRecords,
    ModelRecords,
    PushRecords,
    RevisionRecords,
    RunRecords,
    TokenRecords,
    TrackingRecords,
    TriggerRecords,
    VersionRecords,
)

T = TypeVar("T")


class Records(Protocol):
    """One implementation of every noun, over one database."""

    @property
    def datasets(self) -> DatasetRecords: ...
    @property
    def versions(self) -> VersionRecords: ...
    @property
    def pushes(self) -> PushRecords: ...
    @property
    def loops(self) -> LoopRecords: ...
    @property
    def triggers(self) -> TriggerRecords: ...
    @property
    def runs(self) -> RunRecords: ...
    @property
    def events(self) -> EventRecords: ...
    @property
    def decisions(self) -> DecisionRecords: ...
    @property
    def tracking(self) -> TrackingRecords: ...
    @property
    def models(self) -> ModelRecords: ...
    @property
    def deployments(self) -> DeploymentRecords: ...
    @property
    def revisions(self) -> RevisionRecords: ...
    @property
    def tokens(self) -> TokenRecords: ...
    @property
    def audit(self) -> AuditRecords: ...


def raises(kind: type[VolantError], call: Callable[[], Any]) -> VolantError:
    """Assert that `call` raises `kind` with a message and a fix."""
    caught: VolantError | None = None
    try:
        call()
    except kind as error:
        caught = error
    assert caught is not None, f"no {kind.__name__} was raised"
    assert caught.what, "an error says what happened"
    assert caught.fix, "an error says what to do"
    return caught


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run all calls in threads that start together; their results in order."""
    gate = Barrier(len(calls))

    def start(call: Callable[[], T]) -> T:
        gate.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(start, calls))


def all_pages(page: Callable[[str | None], tuple[Sequence[T], str | None]]) -> list[T]:
    """Every item of every page, following the cursors."""
    items: list[T] = []
    cursor: str | None = None
    while True:
        some, cursor = page(cursor)
        items += some
        if cursor is None:
            return items
