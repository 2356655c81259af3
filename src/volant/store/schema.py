"""The tables. `migrations/` makes them; a test proves that both agree.

`seq` numbers rows in the order of their making: it is the cursor of every page and
never leaves the store. Text has no length limit on either database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from volant.domain.contract import Contract
from volant.domain.dataset import PushStatus
from volant.domain.decision import DecisionKind, Outcome
from volant.domain.deployment import RevisionStatus, Settings
from volant.domain.loop import LoopSpec, ReplicaSpec, RolloutSpec
from volant.domain.model import Lineage, Signature, Stage
from volant.domain.principal import Role
from volant.domain.workflow import WorkflowSpec
from volant.store import (
    codeset_tables,
    extension_tables,
    project_tables,
    registered_tables,
    step_cache_tables,
    tracking_tables,
    workflow_tables,
)
from volant.store.columns import CASCADE, metadata
from volant.store.columns import count as _count
from volant.store.columns import json as _json
from volant.store.columns import maybe as _maybe
from volant.store.columns import member as _member
from volant.store.columns import project as _project
from volant.store.columns import seq as _seq
from volant.store.columns import text as _text
from volant.store.columns import time as _time
from volant.store.types import Rank, Utc

# Their tables are part of this schema: whoever has it must have imported them.
OTHERS = (
    codeset_tables,
    extension_tables,
    project_tables,
    registered_tables,
    step_cache_tables,
    tracking_tables,
    workflow_tables,
)

# data

datasets = sa.Table(
    "datasets",
    metadata,
    _text("name", primary_key=True),
    _json("contract", Contract, nullable=True),
    _time("created_at"),
    sa.Column("latest_version", sa.BigInteger),
    _count("rows"),
    _count("quarantined"),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    _text("dataset", sa.ForeignKey("datasets.name"), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    _count("table_version"),
    _count("rows_added"),
    _count("rows_total"),
    _count("rows_quarantined"),
    _text("push_id", unique=True),
    _time("created_at"),
)

pushes = sa.Table(
    "pushes",
    metadata,
    _seq(),
    _text("id", unique=True),
    _text("dataset", sa.ForeignKey("datasets.name")),
    _text("source"),
    _json("files", tuple[str, ...]),
    _member("status", PushStatus),
    _time("created_at"),
    _maybe("run_id"),
    sa.Column("version", sa.BigInteger),
    _count("rows_added"),
    _count("rows_quarantined"),
    _maybe("reason"),
    sa.Index(None, "dataset", "seq"),
)

# loops

loops = sa.Table(
    "loops",
    metadata,
    _text("name", primary_key=True),
    _count("generation"),
    _text("source"),
    _json("spec", LoopSpec),
    _time("created_at"),
    _time("updated_at"),
    _maybe("code_dir"),
    _maybe("code_hash"),
)

triggers = sa.Table(
    "triggers",
    metadata,
    _text("id", primary_key=True),
    _text("loop", sa.ForeignKey("loops.name", ondelete=CASCADE)),
    _text("kind"),
    _maybe("dataset"),
    _maybe("cron"),
    _time("next_at", nullable=True),
    sa.Index(None, "loop"),
    sa.Index(None, "dataset"),
    sa.Index(None, "next_at"),
)

firings = sa.Table(
    "firings",
    metadata,
    _text("event_id", primary_key=True),
    _text("trigger_id", primary_key=True),
    _maybe("run_id"),
    _text("reason"),
    _time("time"),
)

runs = sa.Table(
    "runs",
    metadata,
    _seq(),
    _text("id", unique=True),
    # A step works in the first of its codesets, and its outputs are told as they are declared.
    _json("workflow", WorkflowSpec, ordered=True),
    _time("created_at"),
    _maybe("loop"),
    sa.Column("generation", sa.BigInteger),
    _maybe("event_id"),
    _maybe("trigger"),
    _maybe("queue_key"),
    _maybe("retry_of"),
    _maybe("from_step"),
    _maybe("project"),
    _maybe("codeset"),
    _maybe("started_by"),
    _maybe("workflow_name"),
    sa.Index(None, "loop", "seq"),
    sa.Index(None, "workflow_name", "seq"),
)

events = sa.Table(
    "events",
    metadata,
    _seq(),
    _text("id", unique=True),
    _text("type"),
    _text("source"),
    _text("subject"),
    _time("time"),
    _json("data"),
    _time("dispatched_at", nullable=True),
    sa.Index(None, "subject", "seq"),
    sa.Index("ix_events_pending", "seq"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _seq(),
    _text("id", unique=True),
    _member("kind", DecisionKind),
    _text("subject"),
    _member("outcome", Outcome),
    _text("reason"),
    _time("time"),
    _maybe("loop"),
    _maybe("run_id"),
    _maybe("event_id"),
    _json("rules", tuple[Mapping[str, Any], ...]),
    _json("details"),
    _text("sha256"),
    sa.Index(None, "loop", "seq"),
    sa.Index(None, "subject", "seq"),
)

# models

models = sa.Table(
    "models",
    metadata,
    _text("name", primary_key=True),
    _time("created_at"),
    _count("latest_version"),
    _project(),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    _seq(),
    _text("model", sa.ForeignKey("models.name")),
    _count("version"),
    _member("stage", Stage),
    _text("uri"),
    _json("files", Mapping[str, str]),
    _json("signature", Signature),
    _json("metrics", Mapping[str, float]),
    _json("lineage", Lineage),
    _text("run_id"),
    _time("created_at"),
    _json("params"),
    _json("runtime"),
    sa.UniqueConstraint("model", "version"),
    sa.UniqueConstraint("model", "run_id"),
    sa.Index("uq_model_versions_champion", "model", unique=True),
)

aliases = sa.Table(
    "aliases",
    metadata,
    _text("model", primary_key=True),
    _text("alias", primary_key=True),
    _count("version"),
    sa.ForeignKeyConstraint(
        ["model", "version"], ["model_versions.model", "model_versions.version"]
    ),
)

# serving

deployments = sa.Table(
    "deployments",
    metadata,
    _text("name", primary_key=True),
    _text("model"),
    _text("host"),
    _count("port"),
    _json("replicas", ReplicaSpec),
    _time("created_at"),
    sa.Column("live_revision", sa.BigInteger),
    sa.Column("live_version", sa.BigInteger),
    _json("settings", Settings, nullable=True),
)

revisions = sa.Table(
    "revisions",
    metadata,
    _text("deployment", sa.ForeignKey("deployments.name", ondelete=CASCADE), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _count("model_version"),
    _text("model_uri"),
    _text("key"),
    _member("status", RevisionStatus),
    _time("created_at"),
    _time("activated_at", nullable=True),
    _maybe("reason"),
    _json("rollout", RolloutSpec, nullable=True),
    sa.Column("step", sa.BigInteger),
    sa.Column("percent", sa.Double),
    _time("since", nullable=True),
    sa.Column("restores", sa.BigInteger),
    _maybe("asked_by"),
    sa.UniqueConstraint("deployment", "key"),
    sa.Index("uq_revisions_live", "deployment", unique=True),
    sa.Index("uq_revisions_rolling", "deployment", unique=True),
)

deployment_minutes = sa.Table(
    "deployment_minutes",
    metadata,
    _text("deployment", sa.ForeignKey("deployments.name", ondelete=CASCADE), primary_key=True),
    sa.Column("minute", Utc, primary_key=True),
    _count("requests"),
    _count("errors"),
    _count("refused"),
    sa.Column("p50_ms", sa.Double),
    sa.Column("p95_ms", sa.Double),
    sa.Column("p99_ms", sa.Double),
    sa.Column("rps_peak", sa.Double, nullable=False),
    _count("cold_starts"),
    _count("memory_bytes"),
    sa.Column("cpu_s", sa.Double, nullable=False),
    _count("replicas"),
    sa.Index(None, "minute"),
)

# access

tokens = sa.Table(
    "tokens",
    metadata,
    _text("id", primary_key=True),
    _text("principal"),
    sa.Column("role", Rank(Role), nullable=False),
    _text("sha256", unique=True),
    _time("created_at"),
    _time("last_used_at", nullable=True),
)

audit = sa.Table(
    "audit",
    metadata,
    _seq(),
    _time("time"),
    _text("principal"),
    _text("action"),
    _text("subject"),
    _text("outcome"),
    _text("request_id"),
)

# the indexes that hold only some rows: one champion a model, one live revision a
# deployment, and one on its way to be
PARTIAL = {
    "ix_events_pending": "dispatched_at IS NULL",
    "uq_model_versions_champion": "stage = 'champion'",
    "uq_revisions_live": "status = 'live'",
    "uq_revisions_rolling": "status IN ('canary', 'shadow')",
}


def for_ddl(dialect: str) -> sa.MetaData:
    """The metadata with what only `CREATE` statements of this dialect need. Saying it in
    the tables above would import every dialect at each start."""
    for table in metadata.tables.values():
        if "seq" in table.c and dialect == "sqlite":
            # SQLite then never gives a number out twice, so cursors stay true.
            table.dialect_options[dialect]["autoincrement"] = True
        for index in table.indexes:
            if index.name in PARTIAL:
                index.dialect_options[dialect]["where"] = sa.text(PARTIAL[str(index.name)])
    return metadata
