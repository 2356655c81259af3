"""Outputs that a step may take over."""

from __future__ import annotations

import sqlalchemy as sa

from volant.store.columns import json, metadata, text, time

step_cache = sa.Table(
    "step_cache",
    metadata,
    text("key", primary_key=True),
    json("outputs"),
    text("run_id"),
    text("step"),
    time("created_at"),
    time("last_used_at"),
    sa.Index(None, "last_used_at"),
)
