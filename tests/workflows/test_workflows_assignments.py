"""What assignments and events start, and which run gives way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalog_world import MANIFEST, NOW

from volant.domain.catalog import Wish
from volant.domain.event import CRON_FIRED, WORKFLOW_ASSIGNED, Event
from volant.domain.run import RunStatus
from volant.errors import InvalidInput, NotFound, Unavailable
from volant.events.schedule import Schedule
from volant.testing import samples


def test_assigning_runs_the_head_at_once(world):
    run = world.assigned()
    assert run.workflow.inputs["code"]["version"] == "c0ffee"
    assert (run.trigger, run.started_by) == ("assigned", "ada")
    # The event that tells of it asks for the same run.
    [event] = [e for e in world.store.events.pending(10) if e.type == WORKFLOW_ASSIGNED]
    assert world.assignments.assigned(event).id == run.id
    assert len(world.statuses()) == 1


def test_assigning_again_starts_nothing(world):
    world.assigned()
    assignment, run = world.assignments.assign("wf", "p", "c", by="bob")
    assert (assignment.created_by, run) == ("ada", None)
    assert len(world.statuses()) == 1


def test_an_empty_codeset_waits_for_its_first_push(world):
    world.codesets.heads["p", "empty"] = None
    world.workflows.create(MANIFEST)
    _, run = world.assignments.assign("wf", "p", "empty")
    assert run is None
    assert world.assignments.pushed(world.push("one", ("p", "empty")))[0].codeset == "p/empty"


@pytest.mark.parametrize(
    ("text", "codeset", "kind", "said"),
    [
        (MANIFEST, "nothing", NotFound, "p/nothing"),
        (MANIFEST.replace(", default: world", ""), "c", InvalidInput, "'who'"),
        ("name: wf\nsteps: [{name: a, run: 'true'}]\n", "c", InvalidInput, "type codeset"),
    ],
)
def test_what_cannot_be_assigned(world, text, codeset, kind, said):
    world.workflows.create(text)
    with pytest.raises(kind) as caught:
        world.assignments.assign("wf", "p", codeset)
    assert said in caught.value.what
    assert world.assignments.list() == []
    assert world.statuses() == []


def test_unknown_workflows_name_the_nearest(world):
    world.workflows.create(MANIFEST.replace("name: wf", "name: training", 1))
    for ask in (
        lambda: world.assignments.assign("trainings", "p", "c"),
        lambda: world.assignments.unassign("trainings", "p", "c"),
        lambda: world.assignments.list("trainings"),
    ):
        with pytest.raises(NotFound) as caught:
            ask()
        assert "training" in caught.value.fix


def test_an_assignment_that_was_taken_back_runs_no_more(world):
    world.assigned()
    [event] = [e for e in world.store.events.pending(10) if e.type == WORKFLOW_ASSIGNED]
    world.assignments.unassign("wf", "p", "c")
    assert world.assignments.pushed(world.push("one")) == []
    assert world.assignments.assigned(event) is None
    with pytest.raises(NotFound):
        world.assignments.unassign("wf", "p", "c")


def test_a_push_runs_its_commit_once(world):
    world.assigned()
    event = world.push("one")
    world.push("two")  # the head is further by now
    [run] = world.assignments.pushed(event)
    assert run.workflow.inputs["code"]["version"] == "one"
    assert (run.trigger, run.event_id) == ("push", event.id)
    assert [again.id for again in world.assignments.pushed(event)] == [run.id]
    assert len(world.statuses()) == 2


def test_a_push_runs_every_workflow_that_is_assigned(world):
    world.assigned()
    world.assigned(MANIFEST.replace("name: wf", "name: other", 1))
    runs = world.assignments.pushed(world.push("one"))
    assert [run.workflow.name for run in runs] == ["other", "wf"]
    assert len({run.id for run in runs}) == 2


def test_only_the_newest_waits(world):
    """A push while a run goes, and two more at once."""
    world.assigned()
    [first] = world.assignments.pushed(world.push("one"))
    world.engine.set(first.id, RunStatus.RUNNING)
    [second] = world.assignments.pushed(world.push("two"))
    [third] = world.assignments.pushed(world.push("three"))
    assert world.statuses()[:3] == [("three", "queued"), ("two", "cancelled"), ("one", "running")]
    _, state = world.runs.get(second.id)
    assert third.id in state.error["what"]
    assert third.id in world.told()[0]


def test_a_run_that_somebody_wanted_is_let_be(world):
    world.assigned()
    [(first, _)], _ = world.runs.page(1)
    by_hand = world.workflows.run(Wish("wf", ("p", "c"), by="bob"))
    retried = world.runs.retry(first.id, "greet")
    world.assignments.pushed(world.push("one"))
    for run in (by_hand, retried):
        assert world.runs.get(run.id)[1].status is RunStatus.QUEUED


def test_another_codeset_and_another_workflow_are_let_be(world):
    world.codesets.heads["p", "d"] = "d0"
    world.assigned()
    world.assignments.assign("wf", "p", "d")
    world.workflows.create(MANIFEST.replace("name: wf", "name: other", 1))
    world.assignments.assign("other", "p", "c")
    world.assignments.pushed(world.push("one"))
    # Only the runs of `other` on p/c: its first one gave way to the push.
    assert [status for _, status in world.statuses()].count("cancelled") == 1
    assert world.engine.cancelled == [
        run.id
        for run, state in world.runs.page(9, workflow="other")[0]
        if state.status is RunStatus.CANCELLED
    ]


def test_a_push_that_had_to_wait_comes_after_no_newer_one(world):
    """Its tests took long, or it was tried again: the newer commit has its run already."""
    world.assigned()
    old = world.push("one", at=NOW)
    [newer] = world.assignments.pushed(world.push("two", at=NOW + timedelta(seconds=5)))
    assert world.assignments.pushed(old) == []
    assert world.runs.get(newer.id)[1].status is RunStatus.QUEUED
    assert newer.id in world.told()[0]


def test_what_cannot_start_is_told_and_stops_nobody(world):
    world.assigned(MANIFEST.replace("name: wf", "name: broken", 1))
    world.assigned()
    # Its next version needs an input that no push gives.
    broken = MANIFEST.replace("name: wf", "name: broken", 1).replace(", default: world", "")
    world.workflows.update(broken)
    runs = world.assignments.pushed(world.push("one"))
    assert [run.workflow.name for run in runs] == ["wf"]
    assert "'who'" in world.told("broken")[0]


def test_a_locked_database_is_tried_again(world):
    world.assigned()
    event = world.push("one")
    world.busy = 1
    with pytest.raises(Unavailable):
        world.assignments.pushed(event)
    assert world.told() == []
    [run] = world.assignments.pushed(event)
    assert run.workflow.inputs["code"]["version"] == "one"


def test_a_deleted_codeset_takes_its_assignments_along(world):
    world.assigned()
    event = world.push("one")
    del world.codesets.heads["p", "c"]
    assert world.assignments.pushed(event) == []
    assert "p/c" in world.told()[0]
    gone = samples.event(data={"project": "p", "name": "c"})
    world.assignments.deleted(gone)
    world.assignments.deleted(gone)
    assert world.assignments.list() == []


@pytest.mark.parametrize(
    ("on", "branch", "starts"),
    [
        ("", "main", True),
        ("on: push", "main", True),
        ("on: {push: {branch: main}}", "main", True),
        ("on: {push: {branch: release}}", "main", False),
        ("on: {push: {branch: release}}", "release", True),
        ("on: {cron: '0 2 * * *'}", "main", False),
    ],
)
def test_the_manifest_says_which_pushes_start_it(world, on, branch, starts):
    world.assigned(f"{MANIFEST}{on}\n")
    assert bool(world.assignments.pushed(world.push("one", branch=branch))) is starts


def test_a_schedule_runs_every_codeset_it_is_assigned_to(world):
    world.codesets.heads["p", "d"] = "d0"
    world.assigned(f"{MANIFEST}on: {{cron: '0 2 * * *'}}\n")
    world.assignments.assign("wf", "p", "d")
    world.clock.time += timedelta(hours=3)
    schedule = Schedule(
        triggers=world.store.workflow_triggers,
        clock=world.clock,
        wake=lambda: None,
        noun="workflow",
    )
    assert [schedule.tick(), schedule.tick()] == [1, 0]
    [fired] = [each for each in world.store.events.pending(50) if each.type == CRON_FIRED]
    assert fired.subject == "workflow/wf"
    runs = world.assignments.due(fired)
    assert sorted(run.codeset for run in runs) == ["p/c", "p/d"]
    assert [run.id for run in world.assignments.due(fired)] == [run.id for run in runs]
    # A loop's schedule is none of its business.
    assert world.assignments.due(Event("e", CRON_FIRED, "t", "loop/x", NOW, {"loop": "x"})) == []


def test_a_dataset_runs_a_workflow_without_a_codeset(world):
    world.workflows.create("name: nightly\non: {dataset: wine}\nsteps: [{name: a, run: 'true'}]\n")
    [run] = world.assignments.committed(samples.event(data={"dataset": "wine", "version": 3}))
    assert (run.workflow.name, run.trigger, run.codeset) == ("nightly", "data", None)
    assert world.assignments.committed(samples.event(data={"dataset": "beer"})) == []
