"""The schema's history. `HISTORY` lists the revisions, oldest first, so that finding
the schema up to date needs no Alembic; a test keeps it true."""

HISTORY: tuple[str, ...] = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
)
HEAD = HISTORY[-1]
