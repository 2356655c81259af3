"""Projects: names, members and their rights, and that nothing in use is deleted."""

from __future__ import annotations

import pytest

from volant.domain.principal import Principal, Role
from volant.domain.project import Member
from volant.errors import Conflict, InvalidInput, NotFound


def types(store):
    return [event.type.removeprefix("volant.") for event in store.events.pending(100)]


def test_made_once_described_and_deleted(projects, store):
    made = projects.create("winery", "Wines of all kinds", by="ann")
    assert projects.get("winery") == made
    with pytest.raises(Conflict, match="winery") as told:
        projects.create("winery")
    assert told.value.error_code == "project_exists"
    assert projects.describe("winery", "Red ones").description == "Red ones"
    projects.delete("winery", by="ann")
    assert projects.list() == []
    assert types(store) == ["project.created", "project.changed", "project.deleted"]


def test_ensure_keeps_what_is_there(projects, store):
    first = projects.create("winery", "Wines")
    assert projects.ensure("winery") == first
    assert projects.ensure("other").name == "other"
    assert [each.name for each in projects.list()] == ["other", "winery"]
    assert types(store) == ["project.created"] * 2


@pytest.mark.parametrize("name", ["", "Wine", "-a", "a-", "a/b", "a b", "x" * 64, "ä", "a\n"])
def test_names_that_cant_be(projects, name):
    with pytest.raises(InvalidInput):
        projects.create(name)


def test_a_description_has_bounds(projects):
    with pytest.raises(InvalidInput, match="1001"):
        projects.create("winery", "x" * 1001)


def test_an_unknown_one_gets_the_nearest_name(projects):
    projects.create("winery")
    for act in (
        projects.get,
        projects.delete,
        lambda name: projects.describe(name, ""),
        lambda name: projects.set_member(name, "bob", Role.VIEWER),
        lambda name: projects.remove_member(name, "bob"),
    ):
        with pytest.raises(NotFound, match="Did you mean winery"):
            act("winry")


def test_members(projects):
    projects.create("winery")
    projects.set_member("winery", "bob", Role.VIEWER)
    projects.set_member("winery", "ann", Role.ADMIN)
    changed = projects.set_member("winery", "bob", Role.OPERATOR)
    assert changed.members == (Member("ann", Role.ADMIN), Member("bob", Role.OPERATOR))
    assert projects.list() == [changed]
    assert projects.remove_member("winery", "bob").members == (Member("ann", Role.ADMIN),)
    with pytest.raises(NotFound, match="no member"):
        projects.remove_member("winery", "bob")
    with pytest.raises(InvalidInput):
        projects.set_member("winery", "", Role.VIEWER)
    projects.delete("winery")
    assert projects.create("winery").members == ()
    assert projects.get("winery").members == ()


@pytest.mark.parametrize(
    ("token", "member", "within"),
    [
        (Role.OPERATOR, Role.VIEWER, Role.VIEWER),
        (Role.VIEWER, Role.OPERATOR, Role.VIEWER),
        (Role.DEVELOPER, None, Role.DEVELOPER),
        (Role.ADMIN, Role.VIEWER, Role.ADMIN),
    ],
)
def test_membership_takes_rights_and_gives_none(projects, token, member, within):
    projects.create("winery")
    if member is not None:
        projects.set_member("winery", "bob", member)
    assert projects.within("winery", Principal("bob", token)) == Principal("bob", within)
    assert projects.within("elsewhere", Principal("bob", token)).role is token
    assert projects.enter("winery", Principal("bob", token)) == Principal("bob", within)
    with pytest.raises(NotFound, match="wineri"):
        projects.enter("wineri", Principal("bob", token))


def test_what_holds_something_isnt_deleted(projects, applications):
    applications.record("app", url="http://127.0.0.1:1/v2", project="winery")
    assert projects.holds("winery") == ["application app"]
    with pytest.raises(Conflict, match="application app") as told:
        projects.delete("winery")
    assert told.value.error_code == "project_in_use"
    applications.delete("app")
    projects.delete("winery")
    assert projects.list() == []
