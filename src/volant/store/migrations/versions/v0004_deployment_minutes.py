"""What each deployment did, minute by minute, for a month."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment_minutes",
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("p50_ms", sa.Double, nullable=True),
        sa.Column("p95_ms", sa.Double, nullable=True),
        sa.Column("p99_ms", sa.Double, nullable=True),
        sa.Column("rps_peak", sa.Double, nullable=False),
        sa.Column("cold_starts", sa.BigInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("cpu_s", sa.Double, nullable=False),
        sa.Column("replicas", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"],
            ["deployments.name"],
            name="fk_deployment_minutes_deployment",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("deployment", "minute", name="pk_deployment_minutes"),
    )
    op.create_index("ix_deployment_minutes_minute", "deployment_minutes", ["minute"])
