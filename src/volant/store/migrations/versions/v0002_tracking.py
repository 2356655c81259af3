"""Tracking as MLflow's clients know it: lifecycles, inputs, logged models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Frozen here, as in the revision before.
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
_MILLISECONDS = {
    "sqlite": "CAST(ROUND((julianday(time) - 2440587.5) * 86400000) AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM time) * 1000 AS BIGINT)",
}


def upgrade() -> None:
    _experiments()
    _runs()
    _points()
    _inputs()
    _logged_models()


def _pairs(name: str, owner: str, parent: str) -> None:
    op.create_table(
        name,
        sa.Column(owner, sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.ForeignKeyConstraint([owner], [parent], name=f"fk_{name}_{owner}", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(owner, "key", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_key", name, ["key", owner])


def _experiments() -> None:
    # Added as they are: SQLite would rebuild the table, and its children would go with it.
    op.add_column("experiments", sa.Column("updated_at", UTC_TIME, nullable=True))
    op.add_column("experiments", _defaulted("artifact_location", ""))
    op.add_column("experiments", _defaulted("lifecycle", "active"))
    op.execute(
        "UPDATE experiments SET updated_at = created_at,"
        " artifact_location = 'mlflow-artifacts:/' || id"
    )
    op.execute(
        "INSERT INTO experiments (id, name, created_at, updated_at, artifact_location)"
        " SELECT '0', 'Default', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 'mlflow-artifacts:/0'"
        " WHERE NOT EXISTS (SELECT 1 FROM experiments WHERE name = 'Default')"
    )
    _pairs("experiment_tags", "experiment_id", "experiments.id")


def _defaulted(name: str, value: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text(f"'{value}'"))


def _runs() -> None:
    op.drop_index("ix_tracked_runs_experiment_id_seq", "tracked_runs")
    op.add_column("tracked_runs", _defaulted("user", ""))
    op.add_column("tracked_runs", _defaulted("lifecycle", "active"))
    op.create_index(
        "ix_tracked_runs_experiment_id_lifecycle_started_at",
        "tracked_runs",
        ["experiment_id", "lifecycle", "started_at"],
    )
    op.create_index("ix_params_key", "params", ["key", "run_id"])
    op.create_index("ix_tags_key", "tags", ["key", "run_id"])


def _points() -> None:
    """Times become the milliseconds that a client said, whatever they are."""
    ms = _MILLISECONDS[op.get_bind().dialect.name]
    for table in ("metrics", "latest_metrics"):
        op.rename_table(table, f"{table}_before")
    op.drop_index("ix_metrics_run_id_key_step", "metrics_before")
    if op.get_bind().dialect.name == "postgresql":
        for name in ("pk_metrics", "pk_latest_metrics"):
            op.execute(f"ALTER INDEX {name} RENAME TO {name}_before")
    op.create_table(
        "metrics",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        *_of_point(),
        sa.Column("model_id", sa.Text, nullable=True),
        sa.Column("dataset_name", sa.Text, nullable=True),
        sa.Column("dataset_digest", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_metrics_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_metrics"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "latest_metrics",
        *_of_point(),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_latest_metrics_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_latest_metrics"),
    )
    for table in ("metrics", "latest_metrics"):
        distinct = "DISTINCT" if table == "metrics" else ""
        op.execute(
            f"INSERT INTO {table} (run_id, key, value, step, timestamp)"  # noqa: S608
            f" SELECT {distinct} run_id, key, value, step, {ms} FROM {table}_before"
        )
        op.drop_table(f"{table}_before")
    op.create_index(
        "uq_metrics_point", "metrics", ["run_id", "key", "step", "timestamp", "value"], unique=True
    )
    op.create_index("ix_metrics_model_id", "metrics", ["model_id"])
    op.create_index("ix_latest_metrics_key_value", "latest_metrics", ["key", "value"])


def _of_point() -> list[sa.Column[object]]:
    return [
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=True),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
    ]


def _inputs() -> None:
    op.create_table(
        "run_inputs",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=name in ("schema", "profile"))
            for name in (
                "run_id",
                "name",
                "digest",
                "source_type",
                "source",
                "schema",
                "profile",
                "tags",
            )
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_run_inputs_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_run_inputs"),
        sa.UniqueConstraint("run_id", "name", "digest", name="uq_run_inputs_run_id_name_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_models",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("made", sa.Boolean, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["tracked_runs.id"], name="fk_run_models_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "model_id", "made", name="pk_run_models"),
    )


def _logged_models() -> None:
    op.create_table(
        "logged_models",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("experiment_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("artifact_uri", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("status_message", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name="fk_logged_models_experiment_id"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_logged_models"),
        sa.UniqueConstraint("id", name="uq_logged_models_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_logged_models_experiment_id_seq", "logged_models", ["experiment_id", "seq"])
    _pairs("logged_model_params", "model_id", "logged_models.id")
    _pairs("logged_model_tags", "model_id", "logged_models.id")
