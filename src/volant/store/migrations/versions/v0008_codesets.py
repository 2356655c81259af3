"""Codesets and their mirrors; decisions are found by what they are about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "codesets",
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("head", sa.Text, nullable=True),
        sa.Column("origin", sa.Text, nullable=True),
        sa.Column("pushes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name="pk_codesets"),
    )
    op.create_table(
        "codeset_mirrors",
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("interval_s", sa.Double, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(
            ["project", "name"],
            ["codesets.project", "codesets.name"],
            name="fk_codeset_mirrors_project",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project", "name", name="pk_codeset_mirrors"),
    )
    op.create_index("ix_decisions_subject_seq", "decisions", ["subject", "seq"])
