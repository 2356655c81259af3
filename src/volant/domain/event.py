"""Event: something that happened, in the shape of a CloudEvent 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

DATASET_COMMITTED = "volant.dataset.committed"
DATASET_REJECTED = "volant.dataset.rejected"
LOOP_APPLIED = "volant.loop.applied"
LOOP_DELETED = "volant.loop.deleted"
RUN_STARTED = "volant.run.started"
RUN_FINISHED = "volant.run.finished"
RUNS_DELETED = "volant.runs.deleted"
MODEL_REGISTERED = "volant.model.registered"
MODEL_PREPARED = "volant.model.prepared"
MODEL_PROMOTED = "volant.model.promoted"
MODEL_RETIRED = "volant.model.retired"
MODEL_DELETED = "volant.model.deleted"
GATE_DECIDED = "volant.gate.decided"
DEPLOYMENT_ACTIVATED = "volant.deployment.activated"
DEPLOYMENT_FAILED = "volant.deployment.failed"
DEPLOYMENT_REQUESTED = "volant.deployment.requested"
DEPLOYMENT_ADVANCED = "volant.deployment.advanced"
DEPLOYMENT_ABORTED = "volant.deployment.aborted"
DEPLOYMENT_REVERTED = "volant.deployment.reverted"
DEPLOYMENT_SETTLED = "volant.deployment.settled"
DEPLOYMENT_SCALED = "volant.deployment.scaled"
DEPLOYMENT_CHANGED = "volant.deployment.changed"  # what it logs, and how many versions it keeps
DEPLOYMENT_LOADED = "volant.deployment.loaded"
DEPLOYMENT_UNLOADED = "volant.deployment.unloaded"
DEPLOYMENT_DELETED = "volant.deployment.deleted"
CRON_FIRED = "volant.cron.fired"
EXTENSION_REGISTERED = "volant.extension.registered"
EXTENSION_CHANGED = "volant.extension.changed"
EXTENSION_DELETED = "volant.extension.deleted"
EXTENSIONS_RESEALED = "volant.extensions.resealed"
CODESET_REGISTERED = "volant.codeset.registered"
CODESET_PUSHED = "volant.codeset.pushed"
CODESET_DELETED = "volant.codeset.deleted"
WORKFLOW_CREATED = "volant.workflow.created"
WORKFLOW_UPDATED = "volant.workflow.updated"
WORKFLOW_DELETED = "volant.workflow.deleted"
WORKFLOW_ASSIGNED = "volant.workflow.assigned"
WORKFLOW_UNASSIGNED = "volant.workflow.unassigned"
PROJECT_CREATED = "volant.project.created"
PROJECT_CHANGED = "volant.project.changed"
PROJECT_DELETED = "volant.project.deleted"
APPLICATION_RECORDED = "volant.application.recorded"
APPLICATION_DELETED = "volant.application.deleted"
RUNNABLE_REGISTERED = "volant.runnable.registered"
RUNNABLE_UPDATED = "volant.runnable.updated"
RUNNABLE_DELETED = "volant.runnable.deleted"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is its identity: the same id twice is the same event.

    `subject` is the noun it is about (`dataset/wine`, `loop/wine-quality`).
    """

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
