from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from volant.domain.codeset import Codeset, Mirror
from volant.domain.event import Event
from volant.errors import NotFound
from volant.store import Store
from volant.testing.records import at_once
from volant.testing.samples import NOW

MADE = Codeset("p", "code", NOW, "What it is", ("a", "b"))


def event(name: str) -> Event:
    return Event(f"evt-{name}", "volant.test", "test", "codeset/p/code", NOW, {})


def stored(store: Store) -> set[str]:
    return {each.id for each in store.events.page(50)[0]}


def test_registered_once_with_its_event(store: Store) -> None:
    assert store.codesets.register(MADE, event("1")) == MADE
    other = replace(MADE, description="Other", created_at=NOW + timedelta(days=1))
    assert store.codesets.register(other, event("2")) == MADE
    assert stored(store) == {"evt-1"}
    assert store.codesets.get("p", "code") == MADE
    with pytest.raises(NotFound, match="p/cod") as failure:
        store.codesets.get("p", "cod")
    assert "Did you mean p/code?" in failure.value.fix


def test_listed_by_project_and_label(store: Store) -> None:
    for project, name, labels in (("q", "b", ("x",)), ("p", "c", ()), ("p", "a", ("x", "y"))):
        made = Codeset(project, name, NOW, labels=labels)
        store.codesets.register(made, event(f"{project}{name}"))

    def names(**only: str) -> list[str]:
        return [f"{each.project}/{each.name}" for each in store.codesets.list(**only)]

    assert names() == ["p/a", "p/c", "q/b"]
    assert names(project="p") == ["p/a", "p/c"]
    assert names(label="x") == ["p/a", "q/b"]
    assert names(project="q", label="y") == []


def test_described_in_parts(store: Store) -> None:
    store.codesets.register(MADE, event("1"))
    assert store.codesets.describe("p", "code", description=None, labels=None) == MADE
    told = store.codesets.describe("p", "code", description="", labels=None)
    assert (told.description, told.labels) == ("", ("a", "b"))
    assert store.codesets.describe("p", "code", description=None, labels=()).labels == ()
    with pytest.raises(NotFound):
        store.codesets.describe("p", "nothing", description="x", labels=None)


def test_of_many_who_saw_a_push_one_stores_it(store: Store) -> None:
    before = store.codesets.register(MADE, event("1"))
    after = replace(before, head="1" * 40, branch="trunk", pushes=1)
    tries = [event(f"push{n}") for n in range(5)]
    done = at_once([lambda e=e: store.codesets.pushed(before, after, e) for e in tries])
    assert sorted(done) == [False] * 4 + [True]
    assert store.codesets.get("p", "code") == after
    assert stored(store) == {"evt-1", tries[done.index(True)].id}


def test_a_push_of_a_namesake_that_is_gone_is_not_stored(store: Store) -> None:
    before = store.codesets.register(MADE, event("1"))
    store.codesets.delete("p", "code", event("2"))
    store.codesets.register(replace(MADE, created_at=NOW + timedelta(days=1)), event("3"))
    assert not store.codesets.pushed(before, replace(before, head="1", pushes=1), event("4"))
    assert stored(store) == {"evt-1", "evt-2", "evt-3"}


def test_a_mirror_goes_with_its_codeset_and_keeps_its_salt(store: Store) -> None:
    store.codesets.register(MADE, event("1"))
    assert store.codesets.mirror("p", "code") is None
    mirror = Mirror("p", "code", "https://example.com/a", 60.0, "salt")
    assert store.codesets.set_mirror(mirror) == mirror
    again = replace(mirror, url="https://example.com/b", interval_s=90.0, salt="other")
    assert store.codesets.set_mirror(again) == replace(again, salt="salt")
    assert store.codesets.get("p", "code").origin == "https://example.com/b"
    store.codesets.tried("p", "code", NOW, "no route")
    assert store.codesets.mirrors() == [replace(again, salt="salt", tried_at=NOW, error="no route")]
    with pytest.raises(NotFound):
        store.codesets.set_mirror(replace(mirror, name="nothing"))
    store.codesets.delete("p", "code", event("2"))
    assert store.codesets.mirrors() == []
    store.codesets.tried("p", "code", NOW, None)
    with pytest.raises(NotFound):
        store.codesets.delete("p", "code", event("3"))


def test_decisions_are_found_by_what_they_are_about(store: Store) -> None:
    from volant.testing import samples

    about = replace(samples.decision(loop="wine"), subject="codeset/p/code")
    store.decisions.record(about)
    store.decisions.record(samples.decision(loop="wine"))
    found, _ = store.decisions.page(9, subject="codeset/p/code")
    assert [each.id for each in found] == [about.id]
    assert store.decisions.page(9, loop="other", subject="codeset/p/code")[0] == []
