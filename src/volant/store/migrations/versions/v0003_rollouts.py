"""Rollouts: a deployment's settings, and where each revision is on its way to be live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # All may be NULL, so that SQLite adds them without a copy of the table.
    op.add_column("deployments", sa.Column("settings", sa.Text, nullable=True))
    op.execute("UPDATE deployments SET settings = '{}'")  # the defaults
    for column in (
        sa.Column("rollout", sa.Text, nullable=True),
        sa.Column("step", sa.BigInteger, nullable=True),
        sa.Column("percent", sa.Double, nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("restores", sa.BigInteger, nullable=True),
        sa.Column("asked_by", sa.Text, nullable=True),
    ):
        op.add_column("revisions", column)
    op.create_index(
        "uq_revisions_rolling",
        "revisions",
        ["deployment"],
        unique=True,
        sqlite_where=sa.text("status IN ('canary', 'shadow')"),
        postgresql_where=sa.text("status IN ('canary', 'shadow')"),
    )
