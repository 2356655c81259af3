"""Experiments and registered models are of a project; what was there is the default one's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Frozen here, as in the revisions before.
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
_UNIQUE = "uq_experiments_project_name"
_KEPT = ("experiments", "experiment_tags")


def upgrade() -> None:
    op.add_column("models", _defaulted("project", "default"))
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_experiments()
        return
    op.add_column("experiments", _defaulted("project", "default"))
    op.drop_constraint("uq_experiments_name", "experiments", type_="unique")
    op.create_unique_constraint(_UNIQUE, "experiments", ["project", "name"])


def _rebuild_experiments() -> None:
    """SQLite can't drop a constraint, so the table is made anew under its own name. Runs and
    logged models point at it all the while: their foreign keys are looked at when the
    transaction ends. The tags go with the old rows, and are put back."""
    op.execute("PRAGMA defer_foreign_keys = ON")
    for table in _KEPT:
        op.execute(f"CREATE TEMPORARY TABLE {table}_kept AS SELECT * FROM {table}")  # noqa: S608
    op.drop_table("experiments")
    op.create_table(
        "experiments",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=True),
        _defaulted("artifact_location", ""),
        _defaulted("lifecycle", "active"),
        _defaulted("project", "default"),
        sa.PrimaryKeyConstraint("seq", name="pk_experiments"),
        sa.UniqueConstraint("id", name="uq_experiments_id"),
        sa.UniqueConstraint("project", "name", name=_UNIQUE),
        sqlite_autoincrement=True,
    )
    for table, columns in (
        ("experiments", "seq, id, name, created_at, updated_at, artifact_location, lifecycle"),
        ("experiment_tags", "experiment_id, key, value"),
    ):
        op.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_kept"  # noqa: S608
        )
        op.execute(f"DROP TABLE {table}_kept")


def _defaulted(name: str, value: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text(f"'{value}'"))
