from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_disk import mounted

from volant.errors import (
    Conflict,
    InvalidInput,
    ResourceExhausted,
    Unavailable,
    VolantError,
    from_dict,
)
from volant.store import Store, engine, errors, open_engine, sqlite_url
from volant.testing import samples


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "volant.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[Store]:
    with Store(sqlite_url(file)) as store:
        store.migrate()
        yield store


def test_sqlite_is_set_up(sqlite: Store) -> None:
    with sqlite.engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_a_reader_needs_no_write_lock(sqlite: Store, file: Path) -> None:
    event = samples.event()
    sqlite.events.append(event)
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert sqlite.events.get(event.id) == event
        other.execute("ROLLBACK")
    other.close()


def test_writers_wait_for_each_other(sqlite: Store) -> None:
    """Forty threads, more than the pool keeps: nobody fails, nothing is lost."""
    with ThreadPoolExecutor(40) as pool:
        stored = list(pool.map(lambda _: sqlite.events.append(samples.event()), range(200)))
    assert stored == [True] * 200
    assert len(sqlite.events.pending(1000)) == 200


def test_locked(sqlite: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked by another program") as caught:
        sqlite.events.append(samples.event())
    assert str(file) in caught.value.what
    assert "Close the other program" in caught.value.fix
    other.close()
    assert sqlite.events.append(samples.event())


def test_a_thread_waits_its_turn_only_so_long(
    sqlite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sqlite._database.write():
            inside.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    with pytest.raises(Unavailable, match="locked"):
        sqlite.events.append(samples.event())
    done.set()
    holder.join()


def test_disk_full(sqlite: Store) -> None:
    """SQLite's own limit on pages gives the very error that a full disk gives."""
    with sqlite.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = samples.event(data={"text": "x" * 1_000_000})
    with pytest.raises(ResourceExhausted, match="No space is left") as caught:
        sqlite.events.append(big)
    assert caught.value.error_code == "disk_full"
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1073741823")
    assert sqlite.events.append(big)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    with mounted(tmp_path / "disk", "2m") as folder:
        yield folder


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """Fill a real disk: what was stored stays, what wasn't is told, room mends it."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    with Store(sqlite_url(small_disk / "volant.db")) as store:
        store.migrate()
        stored: list[str] = []

        def fill() -> None:
            for _ in range(200):
                event = samples.event(data={"text": "x" * 50_000})
                store.events.append(event)
                stored.append(event.id)

        with pytest.raises(ResourceExhausted) as caught:
            fill()
        assert caught.value.error_code == "disk_full"
        assert stored
        assert [event.id for event in store.events.pending(1000)] == stored
        ballast.unlink()
        store.events.append(samples.event())
        assert len(store.events.pending(1000)) == len(stored) + 1
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_a_disk_that_turned_read_only(small_disk: Path) -> None:
    file = small_disk / "volant.db"
    with Store(sqlite_url(file)) as store:
        store.migrate()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Store(sqlite_url(file)) as store, pytest.raises(Unavailable) as caught:
        store.check()
    assert caught.value.error_code == "database_read_only"


def _as_nobody(action: Callable[[], object]) -> VolantError:
    """What `action` raises, done by a user who owns nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            action()
        except VolantError as error:
            os.write(writer, json.dumps(error.to_dict()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    assert told, "it raised no VolantError"
    return from_dict(json.loads(told))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and nobody else may write."""
    folder = Path(tempfile.mkdtemp(prefix="volant-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_read_only(open_folder: Path) -> None:
    file = open_folder / "volant.db"
    with Store(sqlite_url(file)) as store:
        store.migrate()
        file.chmod(0o444)
        if os.geteuid() != 0:
            open_folder.chmod(0o555)
        store.close()
        error = _as_nobody(lambda: Store(sqlite_url(file)).events.append(samples.event()))
    assert isinstance(error, Unavailable)
    assert error.error_code == "database_read_only"
    assert str(file) in error.what
    assert "mode 444" in error.what


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "nothing" / "volant.db"
    with Store(sqlite_url(file)) as store, pytest.raises(Unavailable, match="can't be opened"):
        store.migrate()


def test_not_a_database(file: Path) -> None:
    file.write_bytes(b"a,b\n1,2\n" * 500)
    with Store(sqlite_url(file)) as store, pytest.raises(Unavailable, match="isn't a sound"):
        store.migrate()


def test_a_row_of_another_version(sqlite: Store) -> None:
    sqlite.loops.apply(samples.loop(name="wine"), [], samples.event())
    with sqlite.engine.connect() as connection:
        connection.exec_driver_sql('UPDATE loops SET spec = \'{"name": "wine", "new": 1}\'')
        connection.commit()
    with pytest.raises(Conflict, match="'new'"):
        sqlite.loops.get("wine")


@pytest.mark.parametrize(
    "data", [{"number": 2**70}, {"text": "\ud800"}, {"bytes": b"x"}, {1: "one"}]
)
def test_values_that_have_no_stored_form(store: Store, data: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        store.events.append(samples.event(data=data))


def test_numbers_wider_than_the_column(store: Store) -> None:
    dataset = store.datasets.create(samples.dataset())
    push = store.pushes.create(samples.push(dataset.name))
    version = samples.dataset_version(push, table_version=2**63)
    with pytest.raises(InvalidInput):
        store.pushes.commit(push.id, version, None, samples.event())


def test_text_that_is_no_text(store: Store) -> None:
    with pytest.raises(InvalidInput):
        store.events.append(samples.event(subject="\ud800"))


@pytest.mark.service
def test_postgres_refusals(postgres) -> None:
    url = postgres.new_database()
    with Store(url) as store:
        store.migrate()
        with pytest.raises(InvalidInput, match="NUL"):
            store.events.append(samples.event(subject="a\0b"))
        with store.engine.connect() as connection:
            connection.execute(sa.text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
            with store.engine.connect() as other:
                other.execute(sa.text("SET lock_timeout = 50"))
                with pytest.raises(Unavailable, match="gave up waiting"):
                    other.execute(sa.text("SELECT * FROM events"))
        with store.engine.connect() as connection:
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            with pytest.raises(Unavailable, match="can't be written"):
                connection.execute(sa.text("DELETE FROM events"))
        assert store.check()["database"] == "postgresql"
    with Store(url + "_not") as store, pytest.raises(Unavailable, match="does not exist"):
        store.migrate()


def test_postgres_that_is_not_there() -> None:
    pytest.importorskip("psycopg")
    with Store("postgres://ann:secret@127.0.0.1:1/volant") as store:
        with pytest.raises(Unavailable, match="can't be reached") as caught:
            store.migrate()
    assert "secret" not in str(caught.value)
    assert caught.value.error_code == "database_unreachable"


def test_a_full_disk_of_postgres() -> None:
    psycopg = pytest.importorskip("psycopg")
    url = sa.make_url("postgresql://ann@host/volant")
    error = errors.translate(psycopg.errors.DiskFull("could not extend file"), url)
    assert isinstance(error, ResourceExhausted)
    assert error.error_code == "disk_full"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"]
)
def test_urls_that_will_not_do(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_engine(url)
    assert "sqlite:" in caught.value.fix
