"""The tables of tracking, in MLflow's words and widths."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from volant.domain.tracking import Lifecycle, LoggedModelStatus, TrackingStatus
from volant.store.columns import (
    CASCADE,
    count,
    json,
    maybe,
    member,
    metadata,
    project,
    seq,
    text,
    time,
)
from volant.store.types import Member, Number


def _owned(name: str, parent: str) -> sa.Column[str]:
    return text(name, sa.ForeignKey(parent, ondelete=CASCADE), primary_key=True)


def _lifecycle() -> sa.Column[Any]:
    return sa.Column("lifecycle", Member(Lifecycle), nullable=False, server_default="active")


def _pairs(name: str, owner: str, parent: str) -> sa.Table:
    """Keys and texts of one owner, found by owner and by key."""
    return sa.Table(
        name,
        metadata,
        _owned(owner, parent),
        text("key", primary_key=True),
        text("value"),
        sa.Index(f"ix_{name}_key", "key", owner),
    )


experiments = sa.Table(
    "experiments",
    metadata,
    seq(),
    text("id", unique=True),
    text("name"),
    time("created_at"),
    time("updated_at", nullable=True),
    text("artifact_location", server_default=sa.text("''")),
    _lifecycle(),
    project(),
    sa.UniqueConstraint("project", "name"),
)

experiment_tags = _pairs("experiment_tags", "experiment_id", "experiments.id")

tracked_runs = sa.Table(
    "tracked_runs",
    metadata,
    seq(),
    text("id", unique=True),
    text("experiment_id", sa.ForeignKey("experiments.id")),
    text("name"),
    member("status", TrackingStatus),
    time("started_at"),
    time("ended_at", nullable=True),
    text("artifact_uri"),
    text("user", server_default=sa.text("''")),
    _lifecycle(),
    sa.Index(None, "experiment_id", "lifecycle", "started_at"),
)

params = _pairs("params", "run_id", "tracked_runs.id")

tags = _pairs("tags", "run_id", "tracked_runs.id")


def _point() -> list[sa.Column[Any]]:
    return [sa.Column("value", Number), count("step"), count("timestamp")]


# The unique index makes a client's retry harmless; NaN, which is NULL, may come twice.
metrics = sa.Table(
    "metrics",
    metadata,
    seq(),
    text("run_id", sa.ForeignKey("tracked_runs.id", ondelete=CASCADE)),
    text("key"),
    *_point(),
    maybe("model_id"),
    maybe("dataset_name"),
    maybe("dataset_digest"),
    sa.Index("uq_metrics_point", "run_id", "key", "step", "timestamp", "value", unique=True),
    sa.Index(None, "model_id"),
)

# the point of each history with the greatest (step, timestamp, value), as MLflow has "latest"
latest_metrics = sa.Table(
    "latest_metrics",
    metadata,
    _owned("run_id", "tracked_runs.id"),
    text("key", primary_key=True),
    *_point(),
    sa.Index(None, "key", "value"),
)

run_inputs = sa.Table(
    "run_inputs",
    metadata,
    seq(),
    text("run_id", sa.ForeignKey("tracked_runs.id", ondelete=CASCADE)),
    text("name"),
    text("digest"),
    text("source_type"),
    text("source"),
    maybe("schema"),
    maybe("profile"),
    json("tags"),
    sa.UniqueConstraint("run_id", "name", "digest"),
)

# `made`: whether the run made the model or read it
run_models = sa.Table(
    "run_models",
    metadata,
    _owned("run_id", "tracked_runs.id"),
    text("model_id", primary_key=True),
    sa.Column("made", sa.Boolean, primary_key=True),
    count("step"),
)

logged_models = sa.Table(
    "logged_models",
    metadata,
    seq(),
    text("id", unique=True),
    text("experiment_id", sa.ForeignKey("experiments.id")),
    text("name"),
    member("status", LoggedModelStatus),
    text("artifact_uri"),
    time("created_at"),
    time("updated_at"),
    maybe("run_id"),
    text("model_type"),
    text("status_message"),
    sa.Index(None, "experiment_id", "seq"),
)

logged_model_params = _pairs("logged_model_params", "model_id", "logged_models.id")

logged_model_tags = _pairs("logged_model_tags", "model_id", "logged_models.id")
