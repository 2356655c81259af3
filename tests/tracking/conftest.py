from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from volant.store.engine import sqlite_url
from volant.store.records import Store


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
