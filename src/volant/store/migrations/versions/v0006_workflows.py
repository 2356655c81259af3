"""Registered workflows, and what their runs were started for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("project", "codeset", "started_by", "workflow_name"):
        op.add_column("runs", sa.Column(name, sa.Text, nullable=True))
    op.create_index("ix_runs_workflow_name_seq", "runs", ["workflow_name", "seq"])
