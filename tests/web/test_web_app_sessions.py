"""Links work once, sessions for a while, and each for one deployment."""

from __future__ import annotations

import pytest

from volant.errors import NotFound, Unauthenticated
from volant.web.api.app_sessions import LINK_S, SESSION_S, AppSessions


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def sessions(clock):
    return AppSessions(lambda: clock[0])


def test_a_link_works_once(sessions):
    link = sessions.link("wine", "secret")
    key = sessions.redeem("wine", link)
    assert sessions.secret("wine", key) == "secret"
    with pytest.raises(NotFound):
        sessions.redeem("wine", link)


def test_a_link_of_another_deployment_is_used_up(sessions):
    link = sessions.link("wine", "secret")
    for name in ("beer", "wine"):
        with pytest.raises(NotFound):
            sessions.redeem(name, link)


def test_links_and_sessions_run_out(sessions, clock):
    late = sessions.link("wine", "secret")
    key = sessions.redeem("wine", sessions.link("wine", "secret"))
    clock[0] = LINK_S + 1
    with pytest.raises(NotFound):
        sessions.redeem("wine", late)
    assert sessions.secret("wine", key)
    clock[0] = SESSION_S + 1
    with pytest.raises(Unauthenticated, match="volant app wine") as told:
        sessions.secret("wine", key)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("key", [None, "", "x", "ä"])
def test_other_keys_open_nothing(sessions, key):
    sessions.redeem("wine", sessions.link("wine", "secret"))
    with pytest.raises(Unauthenticated):
        sessions.secret("wine", key)


def test_there_is_a_bound(sessions):
    first = sessions.link("wine", "secret")
    for _ in range(1000):
        sessions.link("wine", "secret")
    with pytest.raises(NotFound):
        sessions.redeem("wine", first)
