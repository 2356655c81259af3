"""Projects, applications and runnables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_projects"),
    )
    op.create_table(
        "project_members",
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["project"],
            ["projects.name"],
            name="fk_project_members_project",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project", "principal", name="pk_project_members"),
    )
    op.create_table(
        "applications",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=True),
        sa.Column("deployment", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_applications_project"),
        sa.PrimaryKeyConstraint("name", name="pk_applications"),
    )
    op.create_index("ix_applications_project", "applications", ["project"])
    op.create_table(
        "runnables",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runnables"),
    )
