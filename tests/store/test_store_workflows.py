"""Registered workflows, assignments, their triggers; runs by what they are of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from volant.domain.catalog import Assignment, WorkflowVersion
from volant.domain.event import WORKFLOW_ASSIGNED, WORKFLOW_CREATED, Event
from volant.domain.run import Run
from volant.domain.trigger import Trigger
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, NotFound
from volant.testing import samples
from volant.testing.records import at_once

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def version(name="wf", text="one", **fields):
    return WorkflowVersion(name, 1, text, f"sha of {text}", NOW, "ada", **fields)


def event(type=WORKFLOW_CREATED, subject="workflow/wf"):
    return samples.event(type=type, subject=subject, data={})


def put(store, text="one", *, new=True, name="wf", triggers=()):
    return store.workflows.put(version(name, text), f"about {text}", triggers, event(), new=new)


def assign(store, workflow="wf", project="p", codeset="c"):
    made = Assignment(workflow, project, codeset, NOW, "ada")
    return store.assignments.add(made, event(WORKFLOW_ASSIGNED))


def run(name="wf", **fields):
    spec = WorkflowSpec(name, (StepSpec("a", run="true"),))
    return Run(samples.name("run"), spec, NOW, **fields)


def test_versions_count_up_and_the_same_text_is_no_version(store):
    assert put(store).version == 1
    assert put(store).version == 1
    assert put(store, "two", new=False).version == 2
    assert put(store, "two", new=False).version == 2
    # A text of before is a change like any other.
    assert put(store, "one", new=False).version == 3
    assert [each.source for each in store.workflows.versions("wf")] == ["one", "two", "one"]
    assert store.workflows.version("wf").version == 3
    assert store.workflows.version("wf", 2).source == "two"
    assert store.workflows.get("wf").description == "about one"
    told, _ = store.events.page(10, subject="workflow/wf")
    assert [each.data["version"] for each in told] == [3, 2, 1]


def test_a_name_that_is_taken_or_unknown(store):
    put(store)
    with pytest.raises(Conflict, match="wf"):
        put(store, "two")
    with pytest.raises(NotFound) as caught:
        put(store, "two", new=False, name="wff")
    assert "wf" in caught.value.fix
    for ask in (store.workflows.get, store.workflows.versions, store.workflows.version):
        with pytest.raises(NotFound):
            ask("nothing")
    with pytest.raises(NotFound, match="no version 7"):
        store.workflows.version("wf", 7)


def test_updates_at_once_each_get_a_number(store):
    put(store)
    made = at_once([lambda n=n: put(store, f"text {n}", new=False).version for n in range(6)])
    assert sorted(made) == [2, 3, 4, 5, 6, 7]


def test_an_update_keeps_assignments_and_the_next_time_of_a_schedule(store):
    def cron(at):
        return [Trigger("wf/cron/0 2 * * *", "wf", "cron", cron="0 2 * * *", next_at=at)]

    put(store, triggers=cron(NOW))
    assign(store)
    put(store, "two", new=False, triggers=cron(NOW + timedelta(days=1)))
    assert len(store.assignments.list(workflow="wf")) == 1
    [due] = store.workflow_triggers.due(NOW)
    assert (due.loop, due.next_at) == ("wf", NOW)
    put(store, "three", new=False)
    assert store.workflow_triggers.list("wf") == []


def test_a_trigger_fires_once(store):
    trigger = Trigger("t", "wf", "cron", cron="0 2 * * *", next_at=NOW)
    data = Trigger("d", "wf", "data", dataset="wine")
    put(store, triggers=[trigger, data])
    later = NOW + timedelta(days=1)
    assert store.workflow_triggers.advance("t", NOW, later, samples.event())
    assert not store.workflow_triggers.advance("t", NOW, later, samples.event())
    assert store.workflow_triggers.due(NOW) == []
    assert store.workflow_triggers.for_dataset("wine") == [data]
    assert store.workflow_triggers.for_dataset("beer") == []


def test_assigning_twice_is_once(store):
    put(store)
    assert assign(store)
    assert not assign(store)
    assert assign(store, codeset="d")
    told, _ = store.events.page(10, subject="workflow/wf")
    assert [each.type for each in told].count(WORKFLOW_ASSIGNED) == 2
    assert [each.codeset for each in store.assignments.list(project="p")] == ["c", "d"]
    assert [each.codeset for each in store.assignments.list(codeset="d")] == ["d"]
    store.assignments.remove("wf", "p", "d", event())
    with pytest.raises(NotFound, match="isn't assigned"):
        store.assignments.remove("wf", "p", "d", event())
    with pytest.raises(NotFound):
        assign(store, workflow="nothing")


def test_deleting_takes_everything_of_it_along(store):
    put(store)
    put(store, name="other")
    assign(store)
    assign(store, workflow="other")
    gone = store.workflows.delete("wf", event())
    assert [(each.project, each.codeset) for each in gone] == [("p", "c")]
    assert [each.workflow for each in store.assignments.list()] == ["other"]
    with pytest.raises(NotFound):
        store.workflows.delete("wf", event())
    assert put(store, "anew").version == 1


def test_runs_by_what_they_are_of(store):
    put(store)
    mine = store.runs.create(run(project="p", codeset="p/c", queue_key="workflow/wf/p/c"))
    store.runs.create(run("loop/wine", loop="wine"))
    store.runs.create(run("ingest-wine"))
    for only in ({"workflow": "wf"}, {"codeset": "p/c"}, {"project": "p"}, {"registered": True}):
        assert [each.id for each in store.runs.page(10, **only)[0]] == [mine.id], only


def test_only_runs_that_nothing_needs_are_deleted(store):
    old, maker, first = (store.runs.create(run()) for _ in range(3))
    again = store.runs.create(run(retry_of=first.id))
    made = samples.model_version("m")
    lineage = replace(made.lineage, run_id=maker.id)
    store.models.register(replace(made, lineage=lineage), samples.event())
    assert store.runs.makers([old.id, maker.id]) == {maker.id: "m version 1"}
    told = Event("evt-1", "volant.runs.deleted", "t", "runs", NOW)
    assert store.runs.delete([old.id, maker.id, first.id, "run-unknown"], told) == [old.id]
    assert store.events.get("evt-1").data == {"runs": [old.id]}
    assert store.runs.delete([old.id, maker.id], replace(told, id="evt-2")) == []
    with pytest.raises(NotFound):
        store.events.get("evt-2")
    # Together with its retry, the first one may go.
    assert store.runs.delete([first.id, again.id], replace(told, id="evt-3")) == [
        first.id,
        again.id,
    ]
