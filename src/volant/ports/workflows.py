"""Registered workflows and their assignments, as they are stored. The common rules of
`ports/records.py` hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from volant.domain.catalog import Assignment, RegisteredWorkflow, WorkflowVersion
from volant.domain.event import Event
from volant.domain.trigger import Trigger


class WorkflowRecords(Protocol):
    def put(
        self,
        version: WorkflowVersion,
        description: str,
        triggers: Sequence[Trigger],
        event: Event,
        *,
        new: bool,
    ) -> RegisteredWorkflow:
        """Store `version` as the workflow's newest, whatever its number says, with the
        triggers in place of the former ones and the event (its data gets `version`): one
        transaction. The same SHA-256 as the newest stores nothing. The assignments stay.

        Raises `Conflict` when `new` and another text has the name, `NotFound` when not
        `new` and nothing has it.
        """
        ...

    def get(self, name: str) -> RegisteredWorkflow: ...

    def list(self) -> Sequence[RegisteredWorkflow]:
        """All, by name."""
        ...

    def version(self, name: str, version: int | None = None) -> WorkflowVersion:
        """The newest when `version` is None."""
        ...

    def versions(self, name: str) -> Sequence[WorkflowVersion]:
        """Newest first."""
        ...

    def delete(self, name: str, event: Event) -> Sequence[Assignment]:
        """With versions, triggers and assignments; returns the assignments."""
        ...


class AssignmentRecords(Protocol):
    def add(self, assignment: Assignment, event: Event) -> bool:
        """False, and nothing is stored, when it is assigned already. Raises `NotFound`
        for an unknown workflow."""
        ...

    def remove(self, workflow: str, project: str, codeset: str, event: Event) -> None:
        """Raises `NotFound` when it isn't assigned."""
        ...

    def list(
        self,
        *,
        workflow: str | None = None,
        project: str | None = None,
        codeset: str | None = None,
    ) -> Sequence[Assignment]:
        """By workflow, then by codeset."""
        ...


class WorkflowTriggerRecords(Protocol):
    """`TriggerRecords` as far as `Schedule` uses them; a trigger's `loop` is the name of
    its workflow."""

    def for_dataset(self, dataset: str) -> Sequence[Trigger]: ...

    def due(self, now: datetime) -> Sequence[Trigger]: ...

    def advance(
        self, trigger_id: str, expected: datetime, next_at: datetime, event: Event
    ) -> bool: ...

    def list(self, loop: str | None = None) -> Sequence[Trigger]: ...
