"""Workflows, their assignments and their old runs, bound to what they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from volant.codesets.desk import CodesetDesk
from volant.domain.event import (
    CODESET_DELETED,
    CRON_FIRED,
    DATASET_COMMITTED,
    RUNS_DELETED,
    WORKFLOW_ASSIGNED,
    Event,
)
from volant.errors import NotFound
from volant.events.schedule import Schedule, next_at
from volant.extensions.desk import ExtensionDesk
from volant.ports.clock import Clock, Ids
from volant.projects.runnables import RunnableDesk
from volant.store import Store
from volant.workflows.assignments import AssignmentDesk, superseded_id
from volant.workflows.catalog import Rooms, WorkflowDesk
from volant.workflows.desk import RunDesk
from volant.workflows.retention import RunRetention
from volant.workflows.uses import USES

Effect = Callable[[Event], Any]


class Catalog:
    """The desks of registered workflows, and what events ask of them."""

    def __init__(
        self,
        store: Store,
        runs: RunDesk,
        clock: Clock,
        ids: Ids,
        *,
        codesets: CodesetDesk,
        extensions: ExtensionDesk,
        runnables: RunnableDesk,
        price_per_hour: float | None = None,
    ) -> None:
        rooms = Rooms(
            resolve=codesets.resolve,
            empty=lambda project, name: codesets.get(project, name).head is None,
            choose=extensions.bind,
            uses=lambda: {**USES, **runnables.uses()},
            expand=runnables.expand,
            price_per_hour=price_per_hour,
        )
        self.workflows = WorkflowDesk(
            store.workflows, runs, rooms, next_at=next_at, clock=clock, ids=ids
        )
        self.assignments = AssignmentDesk(
            store.assignments,
            store.workflow_triggers,
            self.workflows,
            runs,
            events=store.events,
            decisions=store.decisions,
            clock=clock,
            ids=ids,
        )
        self.retention = RunRetention(store.runs, runs, clock=clock, ids=ids)
        self._schedule = Schedule(
            triggers=store.workflow_triggers, clock=clock, wake=_nobody, noun="workflow"
        )

    def start(self) -> None:
        """Begin to look at schedules. The dispatcher hears of what they store by itself."""
        self._schedule.start()

    def close(self) -> None:
        self._schedule.close()

    def effects(self) -> Mapping[str, Effect]:
        """What events ask for here; all may be done again."""
        desk = self.assignments
        return {
            CODESET_DELETED: desk.deleted,
            WORKFLOW_ASSIGNED: desk.assigned,
            CRON_FIRED: desk.due,
            DATASET_COMMITTED: desk.committed,
            RUNS_DELETED: self.retention.forget,
        }


def why_cancelled(store: Store, run_id: str) -> Mapping[str, Any] | None:
    """Why a run was cancelled, if not because somebody wanted it."""
    try:
        decision = store.decisions.get(superseded_id(run_id))
    except NotFound:
        return None
    newer = decision.details.get("by")
    return {
        "kind": "conflict",
        "code": "superseded",
        "what": decision.reason,
        "fix": f"Look at the newer one: volant runs show {newer}",
        "details": {"by": newer},
    }


def _nobody() -> None:
    return None
