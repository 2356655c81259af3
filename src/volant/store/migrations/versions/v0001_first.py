"""The first schema: every table, and the triggers that keep records unchanged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen here: the types of `volant.store.types` may change, this revision may not.
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
APPEND_ONLY = ("decisions", "audit")


def upgrade() -> None:
    _data()
    _loops()
    _records()
    _tracking()
    _models()
    _serving()
    _access()
    if op.get_bind().dialect.name == "sqlite":
        _append_only_sqlite()
    else:
        _append_only_postgres()


def _data() -> None:
    op.create_table(
        "datasets",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("contract", sa.Text, nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("latest_version", sa.BigInteger, nullable=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("quarantined", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_datasets"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("table_version", sa.BigInteger, nullable=False),
        sa.Column("rows_added", sa.BigInteger, nullable=False),
        sa.Column("rows_total", sa.BigInteger, nullable=False),
        sa.Column("rows_quarantined", sa.BigInteger, nullable=False),
        sa.Column("push_id", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_dataset_versions_dataset"),
        sa.PrimaryKeyConstraint("dataset", "version", name="pk_dataset_versions"),
        sa.UniqueConstraint("push_id", name="uq_dataset_versions_push_id"),
    )
    op.create_table(
        "pushes",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("version", sa.BigInteger, nullable=True),
        sa.Column("rows_added", sa.BigInteger, nullable=False),
        sa.Column("rows_quarantined", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_pushes_dataset"),
        sa.PrimaryKeyConstraint("seq", name="pk_pushes"),
        sa.UniqueConstraint("id", name="uq_pushes_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pushes_dataset_seq", "pushes", ["dataset", "seq"])


def _loops() -> None:
    op.create_table(
        "loops",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("code_dir", sa.Text, nullable=True),
        sa.Column("code_hash", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_loops"),
    )
    op.create_table(
        "triggers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("loop", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=True),
        sa.Column("cron", sa.Text, nullable=True),
        sa.Column("next_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["loop"], ["loops.name"], name="fk_triggers_loop", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_triggers"),
    )
    op.create_index("ix_triggers_dataset", "triggers", ["dataset"])
    op.create_index("ix_triggers_loop", "triggers", ["loop"])
    op.create_index("ix_triggers_next_at", "triggers", ["next_at"])
    op.create_table(
        "firings",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("trigger_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "trigger_id", name="pk_firings"),
    )
    op.create_table(
        "runs",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("loop", sa.Text, nullable=True),
        sa.Column("generation", sa.BigInteger, nullable=True),
        sa.Column("event_id", sa.Text, nullable=True),
        sa.Column("trigger", sa.Text, nullable=True),
        sa.Column("queue_key", sa.Text, nullable=True),
        sa.Column("retry_of", sa.Text, nullable=True),
        sa.Column("from_step", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_runs"),
        sa.UniqueConstraint("id", name="uq_runs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_loop_seq", "runs", ["loop", "seq"])


def _records() -> None:
    op.create_table(
        "events",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("dispatched_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("id", name="uq_events_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_pending",
        "events",
        ["seq"],
        sqlite_where=sa.text("dispatched_at IS NULL"),
        postgresql_where=sa.text("dispatched_at IS NULL"),
    )
    op.create_index("ix_events_subject_seq", "events", ["subject", "seq"])
    op.create_table(
        "decisions",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.Column("loop", sa.Text, nullable=True),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("event_id", sa.Text, nullable=True),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_decisions"),
        sa.UniqueConstraint("id", name="uq_decisions_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decisions_loop_seq", "decisions", ["loop", "seq"])


def _tracking() -> None:
    op.create_table(
        "experiments",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_experiments"),
        sa.UniqueConstraint("id", name="uq_experiments_id"),
        sa.UniqueConstraint("name", name="uq_experiments_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tracked_runs",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("experiment_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_at", UTC_TIME, nullable=False),
        sa.Column("ended_at", UTC_TIME, nullable=True),
        sa.Column("artifact_uri", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name="fk_tracked_runs_experiment_id"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_tracked_runs"),
        sa.UniqueConstraint("id", name="uq_tracked_runs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tracked_runs_experiment_id_seq", "tracked_runs", ["experiment_id", "seq"])
    op.create_table(
        "params",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_params_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_params"),
    )
    op.create_table(
        "tags",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_tags_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_tags"),
    )
    op.create_table(
        "metrics",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=True),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_metrics_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_metrics"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_metrics_run_id_key_step", "metrics", ["run_id", "key", "step"])
    op.create_table(
        "latest_metrics",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=True),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_latest_metrics_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_latest_metrics"),
    )


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("latest_version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )
    op.create_table(
        "model_versions",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_model_versions_model"),
        sa.PrimaryKeyConstraint("seq", name="pk_model_versions"),
        sa.UniqueConstraint("model", "run_id", name="uq_model_versions_model_run_id"),
        sa.UniqueConstraint("model", "version", name="uq_model_versions_model_version"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_model_versions_champion",
        "model_versions",
        ["model"],
        unique=True,
        sqlite_where=sa.text("stage = 'champion'"),
        postgresql_where=sa.text("stage = 'champion'"),
    )
    op.create_table(
        "aliases",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["model_versions.model", "model_versions.version"],
            name="fk_aliases_model_version",
        ),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_aliases"),
    )


def _serving() -> None:
    op.create_table(
        "deployments",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("port", sa.BigInteger, nullable=False),
        sa.Column("replicas", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("live_revision", sa.BigInteger, nullable=True),
        sa.Column("live_version", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_deployments"),
    )
    op.create_table(
        "revisions",
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("model_version", sa.BigInteger, nullable=False),
        sa.Column("model_uri", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("activated_at", UTC_TIME, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name="fk_revisions_deployment", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment", "number", name="pk_revisions"),
        sa.UniqueConstraint("deployment", "key", name="uq_revisions_deployment_key"),
    )
    op.create_index(
        "uq_revisions_live",
        "revisions",
        ["deployment"],
        unique=True,
        sqlite_where=sa.text("status = 'live'"),
        postgresql_where=sa.text("status = 'live'"),
    )


def _access() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("last_used_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("time", UTC_TIME, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )


def _append_only_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    # INSERT OR REPLACE deletes the old row without telling the triggers above.
    for table, key in (("decisions", "seq"), ("decisions", "id"), ("audit", "seq")):
        op.execute(
            f"CREATE TRIGGER {table}_no_replaced_{key} BEFORE INSERT ON {table}"  # noqa: S608
            f" WHEN NEW.{key} IN (SELECT {key} FROM {table} WHERE {key} = NEW.{key})"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _append_only_postgres() -> None:
    op.execute(
        "CREATE FUNCTION volant_append_only() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION volant_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION volant_append_only()"
        )
