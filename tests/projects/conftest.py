from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.projects.applications import ApplicationDesk
from volant.projects.desk import ProjectDesk
from volant.projects.runnables import RunnableDesk
from volant.store import Store, sqlite_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(sqlite_url(tmp_path / "volant.db")) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def projects(store: Store) -> ProjectDesk:
    return ProjectDesk(store.projects, SystemClock(), SortableIds())


@pytest.fixture
def undeployed() -> list[tuple[str, str | None]]:
    return []


@pytest.fixture
def applications(store: Store, undeployed: list[tuple[str, str | None]]) -> ApplicationDesk:
    def undeploy(name: str, by: str | None) -> None:
        undeployed.append((name, by))

    return ApplicationDesk(store.applications, SystemClock(), SortableIds(), undeploy=undeploy)


@pytest.fixture
def runnables(store: Store) -> RunnableDesk:
    return RunnableDesk(store.runnables, SystemClock(), SortableIds())
