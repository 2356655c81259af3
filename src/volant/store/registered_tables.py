"""What MLflow's registry tells beside the tables of models: one row each, or none."""

from __future__ import annotations

import sqlalchemy as sa

from volant.domain.registered import OldStage
from volant.store.columns import CASCADE, member, metadata, text, time

model_facts = sa.Table(
    "model_facts",
    metadata,
    text("model", sa.ForeignKey("models.name", ondelete=CASCADE), primary_key=True),
    text("description"),
    time("updated_at"),
)

model_tags = sa.Table(
    "model_tags",
    metadata,
    text("model", sa.ForeignKey("models.name", ondelete=CASCADE), primary_key=True),
    text("key", primary_key=True),
    text("value"),
    sa.Index("ix_model_tags_key", "key", "model"),
)


def _of_version() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model", "version"],
        ["model_versions.model", "model_versions.version"],
        ondelete=CASCADE,
    )


version_facts = sa.Table(
    "version_facts",
    metadata,
    text("model", primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    text("description"),
    member("old_stage", OldStage),
    text("user"),
    text("source"),
    text("run_id"),
    text("model_id"),
    time("updated_at"),
    _of_version(),
    sa.Index("ix_version_facts_run_id", "run_id"),
)

version_tags = sa.Table(
    "version_tags",
    metadata,
    text("model", primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    text("key", primary_key=True),
    text("value"),
    _of_version(),
    sa.Index("ix_version_tags_key", "key", "model", "version"),
)
