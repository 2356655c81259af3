"""The tables of codesets and of what they mirror."""

from __future__ import annotations

import sqlalchemy as sa

from volant.store.columns import CASCADE, count, json, maybe, metadata, text, time

codesets = sa.Table(
    "codesets",
    metadata,
    text("project", primary_key=True),
    text("name", primary_key=True),
    time("created_at"),
    text("description"),
    json("labels", tuple[str, ...]),
    text("branch"),
    maybe("head"),
    maybe("origin"),
    count("pushes"),
)

codeset_mirrors = sa.Table(
    "codeset_mirrors",
    metadata,
    text("project", primary_key=True),
    text("name", primary_key=True),
    text("url"),
    sa.Column("interval_s", sa.Double, nullable=False),
    text("salt"),
    time("tried_at", nullable=True),
    maybe("error"),
    sa.ForeignKeyConstraint(
        ["project", "name"],
        ["codesets.project", "codesets.name"],
        ondelete=CASCADE,
    ),
)
