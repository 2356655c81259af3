"""Outside services. A record is small and always wanted whole, so it is one row; what its
credentials hold was sealed before it came here."""

from __future__ import annotations

import sqlalchemy as sa

from volant.domain.extension import Service
from volant.store.columns import json, metadata, text, time

extensions = sa.Table(
    "extensions",
    metadata,
    text("id", primary_key=True),
    text("product"),
    text("version"),
    text("description"),
    text("zone"),
    json("configuration"),
    json("services", tuple[Service, ...]),
    time("registered_at"),
    time("updated_at"),
)
