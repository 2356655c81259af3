"""Tokens that a step has for as long as it runs."""

from __future__ import annotations

import pytest

from volant.access.desk import AccessDesk
from volant.adapters.system import SortableIds, SystemClock
from volant.domain.principal import Role
from volant.errors import Unauthenticated
from volant.store.records import Store


@pytest.fixture
def desk(store: Store) -> AccessDesk:
    return AccessDesk(
        tokens=store.tokens, audit=store.audit, clock=SystemClock(), ids=SortableIds()
    )


def test_lent_until_it_is_recalled(desk: AccessDesk) -> None:
    secret = desk.lend("run/run-1/train", Role.DEVELOPER)
    principal = desk.authenticate(secret)
    assert (principal.name, principal.role) == ("run/run-1/train", Role.DEVELOPER)
    desk.recall("run/run-1/train")
    with pytest.raises(Unauthenticated):
        desk.authenticate(secret)
    assert desk.tokens() == []


def test_lent_again_the_first_is_revoked_and_others_stay(desk: AccessDesk) -> None:
    first = desk.lend("run/run-1/train", Role.DEVELOPER)
    other = desk.lend("run/run-2/train", Role.DEVELOPER)
    desk.lend("run/run-1/train", Role.DEVELOPER)
    with pytest.raises(Unauthenticated):
        desk.authenticate(first)
    assert desk.authenticate(other).name == "run/run-2/train"
    assert len(desk.tokens()) == 2


def test_all_are_recalled_and_no_persons(desk: AccessDesk) -> None:
    _, persons = desk.issue("ana", Role.VIEWER)
    desk.lend("run/run-1/train", Role.DEVELOPER)
    desk.recall()
    assert [token.principal for token in desk.tokens()] == ["ana"]
    assert desk.authenticate(persons).name == "ana"


def test_only_a_run_borrows(desk: AccessDesk) -> None:
    with pytest.raises(ValueError, match="ana"):
        desk.lend("ana", Role.ADMIN)
