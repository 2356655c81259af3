from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from volant.store import Store, sqlite_url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def store(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """A migrated store of either kind."""
    if request.param == "sqlite":
        path = tmp_path / "volant.db"
        path.write_bytes(migrated.read_bytes())
        url = sqlite_url(path)
    else:
        url = request.getfixturevalue("postgres").new_database()
    with Store(url) as opened:
        opened.migrate()
        yield opened
