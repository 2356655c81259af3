"""What MLflow's registry tells of models and versions: words, tags, old stages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "model_facts",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        _of_model("model_facts"),
        sa.PrimaryKeyConstraint("model", name="pk_model_facts"),
    )
    op.create_table(
        "model_tags",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        _of_model("model_tags"),
        sa.PrimaryKeyConstraint("model", "key", name="pk_model_tags"),
    )
    op.create_index("ix_model_tags_key", "model_tags", ["key", "model"])
    op.create_table(
        "version_facts",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("description", "old_stage", "user", "source", "run_id", "model_id")
        ),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        _of_version("version_facts"),
        sa.PrimaryKeyConstraint("model", "version", name="pk_version_facts"),
    )
    op.create_index("ix_version_facts_run_id", "version_facts", ["run_id"])
    op.create_table(
        "version_tags",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        _of_version("version_tags"),
        sa.PrimaryKeyConstraint("model", "version", "key", name="pk_version_tags"),
    )
    op.create_index("ix_version_tags_key", "version_tags", ["key", "model", "version"])


def _of_model(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model"], ["models.name"], name=f"fk_{table}_model", ondelete="CASCADE"
    )


def _of_version(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model", "version"],
        ["model_versions.model", "model_versions.version"],
        name=f"fk_{table}_model_version",
        ondelete="CASCADE",
    )
