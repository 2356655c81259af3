"""Projects with their members, applications and runnables."""

from __future__ import annotations

import sqlalchemy as sa

from volant.domain.principal import Role
from volant.domain.runnable import RunnableSpec
from volant.store.columns import CASCADE, count, json, maybe, metadata, text, time
from volant.store.types import Rank

projects = sa.Table(
    "projects",
    metadata,
    text("name", primary_key=True),
    time("created_at"),
    text("description"),
)

project_members = sa.Table(
    "project_members",
    metadata,
    text("project", sa.ForeignKey("projects.name", ondelete=CASCADE), primary_key=True),
    text("principal", primary_key=True),
    sa.Column("role", Rank(Role), nullable=False),
)

# Its project can't go while it is there: the foreign key holds what the desk checks.
applications = sa.Table(
    "applications",
    metadata,
    text("name", primary_key=True),
    text("type"),
    text("url"),
    time("created_at"),
    time("updated_at"),
    text("description"),
    text("workflow"),
    sa.Column("project", sa.Text, sa.ForeignKey("projects.name")),
    maybe("deployment"),
    sa.Index(None, "project"),
)

runnables = sa.Table(
    "runnables",
    metadata,
    text("id", primary_key=True),
    text("kind"),
    json("spec", RunnableSpec),
    time("created_at"),
    time("updated_at"),
    count("generation"),
)
