from __future__ import annotations

from pathlib import Path

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.extensions.builtin import built_in
from volant.extensions.desk import ExtensionDesk
from volant.extensions.revealing import any_sealed
from volant.extensions.sealing import Keyring


@pytest.fixture
def desk_of(store, tmp_path: Path):
    """Makes desks on one store, as each start of a server does."""

    def make(**keys) -> ExtensionDesk:
        ring = Keyring(tmp_path, in_use=lambda: any_sealed(store.extensions), **keys)
        return ExtensionDesk(
            store.extensions,
            ring,
            lambda: built_in("http://127.0.0.1:8400"),
            SystemClock(),
            SortableIds(),
        )

    return make


@pytest.fixture
def desk(desk_of):
    return desk_of()
