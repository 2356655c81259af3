"""Fixtures that several folders share: a whole platform, and a migrated store.

Test folders are no packages; what several of them import lies in harness/, which is on
the import path from here on.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from volant.store import Store, sqlite_url
from volant.testing.postgres import PostgresServer, find_postgres, postgres_server

sys.path.append(str(Path(__file__).parent / "harness"))
pytest.register_assert_rewrite("platform_process", "effects", "searching")

# A shell lets what it starts with `&` ignore SIGINT, and so would all that we start: some
# tests interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure, and CI tries the same examples each time.
settings.register_profile(
    "calm",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("calm")


@pytest.fixture(scope="module")
def platforms():
    """Makes platforms on homes of their own; none of their processes outlives the module."""
    from platform_process import platforms

    with platforms() as make:
        yield make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if find_postgres() is None:
        pytest.skip("no Postgres on this machine")
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "volant.db"
    with Store(sqlite_url(path)) as store:
        store.migrate()
    return path


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "volant.db"
    shutil.copyfile(migrated, path)
    with Store(sqlite_url(path)) as opened:
        yield opened
