"""Valid domain values for tests: every maker takes what the test cares about."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.dataset import Dataset, DatasetVersion, Push, PushStatus
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.deployment import Deployment, Revision, RevisionStatus
from volant.domain.event import DATASET_COMMITTED, Event
from volant.domain.loop import DataSpec, Loop, LoopSpec, ReplicaSpec
from volant.domain.model import Field, Lineage, ModelVersion, Signature, Stage
from volant.domain.principal import AuditEntry
from volant.domain.run import Run
from volant.domain.statistics import (
    ColumnStatistics,
    Histogram,
    NumberStatistics,
    TrainingStatistics,
    ValueCount,
)
from volant.domain.tracking import TrackedRun, TrackingStatus
from volant.domain.trigger import Trigger
from volant.domain.workflow import StepSpec, WorkflowSpec

NOW = datetime(2030, 1, 31, 9, 30, 15, 123456, tzinfo=UTC)

CONTRACT = Contract(
    columns=(
        ColumnRule("id", ColumnType.INTEGER, nullable=False, unique=True),
        ColumnRule("color", ColumnType.STRING, values=("red", "white")),
        ColumnRule("quality", ColumnType.NUMBER, min=0.0, max=10.0),
    ),
    inferred=True,
)


def name(prefix: str) -> str:
    """A name that nothing else has."""
    return f"{prefix}-{secrets.token_hex(5)}"


def _with(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return defaults | fields


def event(**fields: Any) -> Event:
    return Event(
        **_with(
            fields,
            {
                "id": name("evt"),
                "type": DATASET_COMMITTED,
                "source": "volant/testing",
                "subject": "dataset/wine",
                "time": NOW,
                "data": {"rows": 3},
            },
        )
    )


def decision(**fields: Any) -> Decision:
    return Decision(
        **_with(
            fields,
            {
                "id": name("dec"),
                "kind": DecisionKind.GATE,
                "subject": "loop/wine",
                "outcome": Outcome.ACCEPTED,
                "reason": "rmse 0.61 is at most 0.75.",
                "time": NOW,
                "rules": ({"rule": "thresholds", "passed": True, "rmse": 0.61},),
                "details": {"metrics": {"rmse": 0.61}},
            },
        )
    )


def dataset(**fields: Any) -> Dataset:
    return Dataset(**_with(fields, {"name": name("wine"), "contract": None, "created_at": NOW}))


def push(dataset: str, **fields: Any) -> Push:
    return Push(
        **_with(
            fields,
            {
                "id": name("push"),
                "dataset": dataset,
                "source": "http",
                "files": ("staging/u/wine.csv",),
                "status": PushStatus.RECEIVED,
                "created_at": NOW,
            },
        )
    )


def dataset_version(push: Push, **fields: Any) -> DatasetVersion:
    return DatasetVersion(
        **_with(
            fields,
            {
                "dataset": push.dataset,
                "version": 0,
                "table_version": 7,
                "rows_added": 10,
                "rows_total": 10,
                "rows_quarantined": 2,
                "push_id": push.id,
                "created_at": NOW,
            },
        )
    )


def loop(**fields: Any) -> Loop:
    own = fields.get("name", name("loop"))
    return Loop(
        **_with(
            fields,
            {
                "name": own,
                "generation": 1,
                "source": "kind: Loop\n",
                "spec": LoopSpec(name=own, data=DataSpec(dataset="wine", target="quality")),
                "created_at": NOW,
                "updated_at": NOW,
            },
        )
    )


def trigger(loop: str, **fields: Any) -> Trigger:
    return Trigger(
        **_with(fields, {"id": name("trg"), "loop": loop, "kind": "data", "dataset": "wine"})
    )


def run(**fields: Any) -> Run:
    steps = (
        StepSpec("split", uses="split", inputs={"seed": 1, "share": 0.2}),
        StepSpec("train", uses="train", needs=("split",), retries=2, env={"A": "b"}),
    )
    return Run(
        **_with(
            fields, {"id": name("run"), "workflow": WorkflowSpec("wine", steps), "created_at": NOW}
        )
    )


def tracked_run(experiment_id: str, **fields: Any) -> TrackedRun:
    return TrackedRun(
        **_with(
            fields,
            {
                "id": secrets.token_hex(16),
                "experiment_id": experiment_id,
                "name": "first",
                "status": TrackingStatus.RUNNING,
                "started_at": NOW,
            },
        )
    )


def model_version(model: str, **fields: Any) -> ModelVersion:
    run_id = fields.pop("run_id", None) or name("run")
    return ModelVersion(
        **_with(
            fields,
            {
                "model": model,
                "version": 0,
                "stage": Stage.CANDIDATE,
                "uri": f"artifacts:/models/{model}/{run_id}",
                "files": {"MLmodel": "a" * 64},
                "signature": Signature(
                    inputs=(Field("color", "string", nullable=True), Field("acid", "number")),
                    outputs=(Field("prediction", "integer"),),
                    task="classification",
                    classes=(0, 1),
                ),
                "metrics": {"rmse": 0.61},
                "lineage": Lineage(run_id, "wine", 3, "b" * 64, "c" * 64, "d" * 64),
                "created_at": NOW,
                "params": {"trees": 100, "depth": None},
                "runtime": {"kind": "onnx", "max_abs_diff": 2e-7},
            },
        )
    )


def deployment(model: str, **fields: Any) -> Deployment:
    return Deployment(
        **_with(
            fields,
            {
                "name": model,
                "model": model,
                "host": "127.0.0.1",
                "port": 9001,
                "replicas": ReplicaSpec(min=0, max=2),
                "created_at": NOW,
            },
        )
    )


def revision(deployment: str, model_version: int, **fields: Any) -> Revision:
    return Revision(
        **_with(
            fields,
            {
                "deployment": deployment,
                "number": 0,
                "model_version": model_version,
                "model_uri": f"artifacts:/models/{deployment}/x",
                "key": name("run"),
                "status": RevisionStatus.PENDING,
                "created_at": NOW,
            },
        )
    )


def training_statistics(**fields: Any) -> TrainingStatistics:
    """Of the numbers `x` from 1 to 9 and the texts `color`, ten rows each."""
    quantiles = {"p1": 1.0, "p5": 1.0, "p25": 2.0, "p50": 4.0, "p75": 7.0, "p95": 9.0, "p99": 9.0}
    numbers = NumberStatistics(1.0, 9.0, 4.5, 2.5, quantiles, Histogram((4.0, 9.0), (6, 3)))
    colors = (ValueCount("white", 7), ValueCount("red", 3))
    classes = (ValueCount("good", 6), ValueCount("bad", 4))
    defaults = {
        "rows": 10,
        "columns": (
            ColumnStatistics("x", "number", 9, 1, 7, numbers=numbers),
            ColumnStatistics("color", "string", 10, 0, 2, values=colors),
        ),
        "label": ColumnStatistics("quality", "string", 10, 0, 2, values=classes),
    }
    return TrainingStatistics(**_with(fields, defaults))


def audit_entry(**fields: Any) -> AuditEntry:
    return AuditEntry(
        **_with(
            fields,
            {
                "time": NOW,
                "principal": "ann",
                "action": "loop.apply",
                "subject": "loop/wine",
                "outcome": "ok",
            },
        )
    )
