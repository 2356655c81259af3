from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import volant.store
from volant.errors import Conflict, Unavailable
from volant.store import Store, open_engine, sqlite_url
from volant.store.engine import Database
from volant.store.migrate import migrate
from volant.store.migrations import HEAD, HISTORY, snapshot
from volant.store.schema import PARTIAL, for_ddl, metadata

FOLDER = Path(volant.store.__file__).parent / "migrations"

MIGRATE = "import sys; from volant.store import Store; s = Store(sys.argv[1]); s.migrate()"


def test_history_is_what_the_scripts_say() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(HISTORY))
    assert scripts.get_heads() == [HEAD]


def test_tables_and_migrations_agree(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, for_ddl(connection.dialect.name)) == []


def test_partial_indexes_agree(store: Store) -> None:
    dialect = store.engine.dialect.name
    inspector = sa.inspect(store.engine)
    found = {
        index["name"]: str(index["dialect_options"][f"{dialect}_where"])
        for table in metadata.tables
        for index in inspector.get_indexes(table)
        if f"{dialect}_where" in index.get("dialect_options", {})
    }
    assert set(found) == set(PARTIAL)
    for name, condition in PARTIAL.items():
        column = condition.split(maxsplit=1)[0]
        assert column in found[name]


def test_every_numbered_table_never_reuses_a_number(tmp_path: Path) -> None:
    with Store(sqlite_url(tmp_path / "volant.db")) as store:
        store.migrate()
        with store.engine.connect() as connection:
            made = connection.execute(
                sa.text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'")
            ).scalars()
            assert set(made) == {
                name for name, table in metadata.tables.items() if "seq" in table.c
            }


def test_the_ready_made_tables_are_those_that_the_migrations_make(tmp_path: Path) -> None:
    made: list[str] = []
    for ready_made in (False, True):
        database = Database(sqlite_url(tmp_path / f"{ready_made}.db"))
        migrate(database, ready_made=ready_made)
        database.close()
        made.append(snapshot.dump(tmp_path / f"{ready_made}.db"))
    kept = snapshot.FILE.read_text(encoding="utf-8")
    assert made == [kept, kept], "run `python -m volant.store.migrations.snapshot`"


def test_a_first_start_needs_no_alembic_on_sqlite(tmp_path: Path) -> None:
    code = f"{MIGRATE}; assert not any('alembic' in name for name in sys.modules)"
    url = sqlite_url(tmp_path / "volant.db")
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)


def test_migrate_again_does_nothing(store: Store) -> None:
    store.migrate()
    assert store.check()["schema"] == HEAD


def test_up_to_date_needs_no_alembic(url: str, store: Store) -> None:
    code = f"{MIGRATE}; assert not any('alembic' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)


def test_control_plane_imports_stay_light() -> None:
    code = (
        "import sys, volant.store;"
        "heavy = {'alembic', 'psycopg', 'numpy', 'pyarrow', 'sqlalchemy.orm', 'dbos'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    started = [subprocess.Popen([sys.executable, "-c", MIGRATE, url]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    with Store(url) as store:
        assert store.check()["schema"] == HEAD


def test_a_newer_schema_is_refused(url: str, store: Store) -> None:
    with store.engine.connect() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(Conflict, match="9999") as caught:
        store.migrate()
    assert caught.value.error_code == "schema_newer"


def test_check_before_migrate_says_so(url: str) -> None:
    with Store(url) as store, pytest.raises(Unavailable, match="schema"):
        store.check()


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """Something in the way half through: the tables made before it go too."""
    url = sqlite_url(tmp_path / "volant.db")
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE tokens (x INTEGER)"))
        connection.commit()
    engine.dispose()
    with Store(url) as store:
        with pytest.raises(sa.exc.OperationalError, match="tokens already exists"):
            store.migrate()
        assert set(sa.inspect(store.engine).get_table_names()) == {"tokens"}
