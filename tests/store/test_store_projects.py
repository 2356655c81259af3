"""Projects, applications and runnables on both databases: guarded writes, each with its event."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from volant.domain.application import Application
from volant.domain.event import Event
from volant.domain.principal import Role
from volant.domain.project import Member, Project
from volant.domain.runnable import Implementation, Port, Runnable, RunnableSpec
from volant.errors import Conflict, NotFound

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNT = iter(range(10_000))


def event(subject="project/a"):
    return Event(f"evt-{next(COUNT)}", "volant.test", "volant/test", subject, NOW)


def application(name="app", **more):
    return Application(name, "predictor", "http://x", NOW, NOW, **more)


def test_a_project_comes_back_with_its_members(store):
    project = Project("a", NOW, "text", (Member("ann", Role.ADMIN), Member("bob", Role.VIEWER)))
    assert store.projects.create(project, event())
    assert not store.projects.create(project, event())
    assert store.projects.get("a") == project
    assert store.projects.list() == [project]
    assert store.projects.role("a", "bob") is Role.VIEWER
    assert store.projects.role("a", "eve") is None
    assert len(store.events.pending(10)) == 1


def test_one_of_many_makes_it(store):
    made = []

    def make():
        made.append(store.projects.create(Project("a", NOW), event()))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert len(store.events.pending(20)) == 1


def test_nothing_is_told_of_what_wasnt_done(store):
    for refused in (
        lambda: store.projects.describe("a", "x", event()),
        lambda: store.projects.set_member("a", Member("bob", Role.VIEWER), event()),
        lambda: store.projects.remove_member("a", "bob", event()),
        lambda: store.projects.delete("a", event()),
        lambda: store.applications.delete("a", event()),
        lambda: store.runnables.delete("a", event()),
    ):
        with pytest.raises(NotFound):
            refused()
    assert store.events.pending(10) == []


def test_an_application_brings_its_project_and_keeps_it(store):
    stored = store.applications.put(application(project="a"), event("application/app"))
    assert store.applications.put(application(project="a"), event()) == stored
    assert [each.subject for each in store.events.pending(10)] == ["project/a", "application/app"]
    with pytest.raises(Conflict, match="application app"):
        store.projects.delete("a", event())
    store.applications.put(application(), event())  # it moves out
    store.projects.delete("a", event())
    assert store.applications.list() == [application()]


def test_a_codeset_keeps_its_project(store):
    from volant.domain.codeset import Codeset
    from volant.store.codeset_tables import codesets
    from volant.store.rows import values

    store.projects.create(Project("a", NOW), event())
    with store._database.write() as work:
        work.execute(codesets.insert().values(values(codesets, Codeset("a", "code", NOW))))
    assert store.projects.holds("a") == ["codeset code"]
    with pytest.raises(Conflict, match="codeset code"):
        store.projects.delete("a", event())


def test_a_runnable_comes_back_whole(store):
    spec = RunnableSpec(
        "r",
        Implementation("image", "run", ("a", "b"), {"K": "v"}),
        kind="trainer",
        inputs=(Port("z", "number", optional=True, default="1"), Port("a", labels={"k": "v"})),
        outputs=(Port("second"), Port("first")),
    )
    made = store.runnables.create(Runnable(spec, NOW, NOW), event())
    assert store.runnables.get("r") == made
    assert [port.name for port in store.runnables.get("r").spec.outputs] == ["second", "first"]
    assert store.runnables.list() == [made]
    store.runnables.delete("r", event())
    assert store.runnables.list() == []


def test_whether_it_is_there_and_what_one_may_in_it(store):
    store.projects.create(Project("a", NOW, "", (Member("bob", Role.VIEWER),)), event())
    assert store.projects.standing("a", "bob") == (True, Role.VIEWER)
    assert store.projects.standing("a", "eve") == (True, None)
    assert store.projects.standing("b", "bob") == (False, None)
