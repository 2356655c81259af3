from __future__ import annotations

from pathlib import Path

import pytest
from registry_world import World

from volant.store import Store


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)
