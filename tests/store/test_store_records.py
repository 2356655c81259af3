from __future__ import annotations

from collections.abc import Callable

import pytest

from volant.store import Store
from volant.testing.records import Records
from volant.testing.records_contract import RECORDS_CONTRACT


@pytest.mark.parametrize("check", RECORDS_CONTRACT, ids=lambda check: check.__name__)
def test_records(check: Callable[[Records], None], store: Store) -> None:
    check(store)
