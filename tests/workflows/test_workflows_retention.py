"""Which old runs may go, and that nothing of them is left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from catalog_world import MANIFEST

from volant.domain.catalog import Wish
from volant.domain.event import RUNS_DELETED
from volant.domain.run import RunStatus
from volant.errors import InvalidInput, NotFound
from volant.testing import samples


def runs(world, count, workflow="wf"):
    """Runs that are done, oldest first."""
    if workflow not in [each.name for each in world.workflows.list()]:
        world.workflows.create(MANIFEST.replace("name: wf", f"name: {workflow}", 1))
    made = [world.workflows.run(Wish(workflow, ("p", "c"))) for _ in range(count)]
    for run in made:
        world.engine.set(run.id, RunStatus.SUCCEEDED)
        folder = world.runs.folder(run.id)
        folder.mkdir(parents=True)
        (folder / "log.jsonl").write_text("{}")
    return made


def gone(world, **which):
    return [one.run for one in world.retention.prune(**which, apply=True) if one.done]


def reasons(world, **which):
    return {one.run: one.reason for one in world.retention.prune(**which)}


def dispatch(world):
    for event in world.store.events.pending(50):
        if event.type == RUNS_DELETED:
            world.retention.forget(event)
            world.retention.forget(event)  # a crash may make it happen twice


def test_the_newest_of_each_workflow_stay(world):
    old, new = runs(world, 2)
    [other] = runs(world, 1, "other")
    assert reasons(world, keep=1) == {
        old.id: None,
        new.id: "it is among the newest",
        other.id: "it is among the newest",
    }
    assert world.runs.known(old.id)  # nothing was done yet
    assert gone(world, keep=1) == [old.id]
    dispatch(world)
    assert not world.runs.known(old.id)
    assert not world.runs.folder(old.id).exists()
    assert old.id not in world.engine.known
    assert world.runs.folder(new.id).exists()
    assert gone(world, keep=1) == []


def test_only_those_of_an_age_go(world):
    old, new = runs(world, 2)
    age = (world.clock.now() - new.created_at).total_seconds()
    assert gone(world, older_than_s=age + 1.5) == [old.id]


def test_what_is_under_way_stays(world):
    first, second = runs(world, 2)
    world.engine.set(first.id, RunStatus.RUNNING)
    world.engine.set(second.id, RunStatus.QUEUED)
    assert reasons(world, older_than_s=0) == {
        first.id: "it is running",
        second.id: "it is queued",
    }


def test_what_a_model_was_made_by_stays(world):
    [run] = runs(world, 1)
    made = samples.model_version("m")
    lineage = replace(made.lineage, run_id=run.id)
    world.store.models.register(replace(made, lineage=lineage), samples.event())
    assert "m version 1" in reasons(world, older_than_s=0)[run.id]
    assert gone(world, older_than_s=0) == []


def test_what_a_kept_run_took_over_stays_with_it(world):
    """Its own source's source too; and with the last user, they may all go."""
    first, second, third, unused = runs(world, 4)
    world.engine.set(second.id, RunStatus.SUCCEEDED, greet={"cached": first.id})
    retried = world.runs.retry(second.id, "greet")
    world.engine.set(retried.id, RunStatus.QUEUED)
    told = reasons(world, older_than_s=0)
    assert told[second.id] == f"run {retried.id} took over what it did"
    assert told[first.id] == f"run {second.id} took over what it did"
    assert told[third.id] is None
    assert gone(world, older_than_s=0) == [unused.id, third.id]
    world.engine.set(retried.id, RunStatus.SUCCEEDED)
    assert set(gone(world, older_than_s=0)) == {first.id, second.id, retried.id}


def test_a_run_that_came_into_use_meanwhile_stays(world):
    [old] = runs(world, 1)
    plan = world.runs.page

    def and_then(*args, **only):
        found = plan(*args, **only)
        if world.runs.known(old.id) and len(found[0]) == 1:
            world.engine.set(world.runs.retry(old.id, "greet").id, RunStatus.QUEUED)
        return found

    world.runs.page = and_then
    [one] = world.retention.prune(older_than_s=0, apply=True)
    assert (one.done, one.reason) == (False, "it came into use")
    assert world.runs.known(old.id)


@pytest.mark.parametrize("which", [{}, {"keep": 0}, {"older_than_s": -1.0}])
def test_it_must_be_said_which(world, which):
    with pytest.raises(InvalidInput):
        world.retention.prune(**which, apply=True)


def test_a_forgotten_run_can_not_be_shown(world):
    [run] = runs(world, 1)
    gone(world, older_than_s=0)
    with pytest.raises(NotFound):
        world.runs.get(run.id)
