from __future__ import annotations

import pytest
from catalog_world import World


@pytest.fixture
def world(tmp_path, store):
    return World(tmp_path, store)
