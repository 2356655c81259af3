"""Registered workflows, the texts of their manifests, and whom they are assigned to."""

from __future__ import annotations

import sqlalchemy as sa

from volant.store.columns import CASCADE, count, maybe, metadata, text, time

workflows = sa.Table(
    "workflows",
    metadata,
    text("name", primary_key=True),
    count("version"),
    time("created_at"),
    time("updated_at"),
    text("description"),
)

workflow_versions = sa.Table(
    "workflow_versions",
    metadata,
    text("workflow", sa.ForeignKey("workflows.name", ondelete=CASCADE), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    text("source"),
    text("sha256"),
    time("created_at"),
    maybe("created_by"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    text("workflow", sa.ForeignKey("workflows.name", ondelete=CASCADE), primary_key=True),
    text("project", primary_key=True),
    text("codeset", primary_key=True),
    time("created_at"),
    maybe("created_by"),
    sa.Index("ix_assignments_project", "project", "codeset"),
)

workflow_triggers = sa.Table(
    "workflow_triggers",
    metadata,
    text("id", primary_key=True),
    text("workflow", sa.ForeignKey("workflows.name", ondelete=CASCADE)),
    text("kind"),
    maybe("dataset"),
    maybe("cron"),
    time("next_at", nullable=True),
    sa.Index(None, "workflow"),
    sa.Index(None, "dataset"),
    sa.Index(None, "next_at"),
)
