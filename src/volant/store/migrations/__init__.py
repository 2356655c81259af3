"""The schema's history. `HISTORY` lists the revisions, oldest first, so that finding
the schema up to date needs no Alembic; a test keeps it true."""

HISTORY: tuple[str, ...] = ("0001",)
HEAD = HISTORY[-1]
