"""Registered workflows, and what their runs were started for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for name in ("project", "codeset", "started_by", "workflow_name"):
        op.add_column("runs", sa.Column(name, sa.Text, nullable=True))
    op.create_index("ix_runs_workflow_name_seq", "runs", ["workflow_name", "seq"])
    op.create_table(
        "workflows",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workflows"),
    )
    op.create_table(
        "workflow_versions",
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=True),
        _of_workflow("workflow_versions"),
        sa.PrimaryKeyConstraint("workflow", "version", name="pk_workflow_versions"),
    )
    op.create_table(
        "assignments",
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("codeset", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=True),
        _of_workflow("assignments"),
        sa.PrimaryKeyConstraint("workflow", "project", "codeset", name="pk_assignments"),
    )
    op.create_index("ix_assignments_project", "assignments", ["project", "codeset"])
    op.create_table(
        "workflow_triggers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=True),
        sa.Column("cron", sa.Text, nullable=True),
        sa.Column("next_at", UTC_TIME, nullable=True),
        _of_workflow("workflow_triggers"),
        sa.PrimaryKeyConstraint("id", name="pk_workflow_triggers"),
    )
    for column in ("workflow", "dataset", "next_at"):
        op.create_index(f"ix_workflow_triggers_{column}", "workflow_triggers", [column])


def _of_workflow(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["workflow"], ["workflows.name"], name=f"fk_{table}_workflow", ondelete="CASCADE"
    )
