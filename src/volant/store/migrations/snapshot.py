"""What all migrations together make of an empty SQLite file, kept as SQL beside them.

A first start runs that in a few milliseconds; Alembic takes half a second to load and to
go through the history. A test compares the two. After a new migration:
`python -m volant.store.migrations.snapshot`.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("sqlite.sql")
_ALEMBIC = "alembic_version"


def statements() -> list[str]:
    """The kept SQL, statement by statement."""
    return [each for each in FILE.read_text(encoding="utf-8").split("\n\n") if each.strip()]


def dump(database: Path) -> str:
    """The SQL that makes what a newly migrated file holds: tables, indexes, triggers, and
    the rows that migrations put there."""
    with sqlite3.connect(database) as connection:
        made = connection.execute(
            "SELECT type, name, sql FROM sqlite_master"
            " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        ).fetchall()
        tables = [name for kind, name, _ in made if kind == "table"]
        rows = [insert for table in tables for insert in _rows(connection, table)]
    # Triggers last, so that they don't fire for the rows.
    first = [sql.strip() for kind, _, sql in made if kind != "trigger"]
    last = [sql.strip() for kind, _, sql in made if kind == "trigger"]
    text = "\n\n".join([*first, *rows, *last])
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _rows(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    # What a migration made was made now, and a numbered table gives the number itself.
    quoted = {
        name: "'CURRENT_TIMESTAMP'" if kind == "DATETIME" else f'quote("{name}")'
        for _, name, kind, *_ in columns
        if name != "seq"
    }
    names = ", ".join(f'"{name}"' for name in quoted)
    found = connection.execute(f'SELECT {", ".join(quoted.values())} FROM "{table}"').fetchall()  # noqa: S608
    return [f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(row)})' for row in found]  # noqa: S608


def main() -> None:
    """Write the file anew by running the migrations."""
    from volant.store.engine import Database, sqlite_url
    from volant.store.migrate import migrate

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volant.db"
        database = Database(sqlite_url(file))
        migrate(database, ready_made=False)
        database.close()
        FILE.write_text(dump(file), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")


if __name__ == "__main__":
    main()
