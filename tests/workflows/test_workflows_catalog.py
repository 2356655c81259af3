"""Registered workflows: what is stored, what is refused, what a run is made of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalog_world import MANIFEST, NOW

from volant.domain.catalog import Wish
from volant.domain.event import WORKFLOW_CREATED, WORKFLOW_DELETED, WORKFLOW_UPDATED
from volant.domain.run import RunStatus
from volant.errors import Conflict, InvalidInput, NotFound

PLAIN = "name: plain\nsteps: [{name: a, run: 'true'}]\n"


def events(world, workflow):
    page, _ = world.store.events.page(20, subject=f"workflow/{workflow}")
    return [event.type for event in reversed(page)]


def test_a_workflow_from_creation_to_deletion(world):
    assert world.workflows.create(PLAIN, by="ada").version == 1
    assert world.workflows.create(PLAIN).version == 1
    changed = PLAIN.replace("'true'", "'false'")
    with pytest.raises(Conflict, match="plain"):
        world.workflows.create(changed)
    assert world.workflows.update(changed, by="bob").version == 2
    assert world.workflows.update(changed).version == 2
    assert [each.created_by for each in world.workflows.versions("plain")] == ["bob", "ada"]
    assert world.workflows.manifest("plain", 1).steps[0].run == "true"
    assert world.workflows.manifest("plain").steps[0].run == "false"
    assert world.workflows.delete("plain") == []
    assert world.workflows.list() == []
    assert events(world, "plain") == [WORKFLOW_CREATED, WORKFLOW_UPDATED, WORKFLOW_DELETED]


def test_a_manifest_with_faults_is_not_stored(world):
    with pytest.raises(InvalidInput) as caught:
        world.workflows.create(
            "name: x\nsteps:\n  - {name: a, run: 'echo {{ inputs.who }}'}\n", file="flows/x.yaml"
        )
    assert "flows/x.yaml:3" in caught.value.what
    assert world.workflows.list() == []


def test_an_update_of_another_name_or_of_nothing(world):
    world.workflows.create(PLAIN)
    with pytest.raises(InvalidInput, match="plane"):
        world.workflows.update(PLAIN, name="plane")
    with pytest.raises(NotFound) as caught:
        world.workflows.update(PLAIN.replace("plain", "plainn"))
    assert "plain" in caught.value.fix


def test_what_it_uses_is_looked_at_when_it_is_stored(world):
    def refuse(manifest):
        raise InvalidInput("A runnable lacks an input.", "Give it.")

    world.expand = refuse
    with pytest.raises(InvalidInput, match="lacks an input"):
        world.workflows.create(PLAIN)
    assert world.workflows.list() == []


def test_a_step_that_went_away_hides_no_list(world):
    world.uses["runnable/x"] = ("o",)
    world.workflows.create("name: u\nsteps: [{name: a, uses: runnable/x}]\n")
    del world.uses["runnable/x"]
    assert "There is no runnable 'x'." in world.workflows.view("u")["problem"]
    assert world.workflows.view("u")["version"] == 1
    with pytest.raises(InvalidInput):
        world.workflows.run(Wish("u"))


def test_a_view_tells_inputs_outputs_and_steps(world):
    world.workflows.create(MANIFEST)
    view = world.workflows.view("wf")
    assert [each["name"] for each in view["inputs"]] == ["code", "who"]
    assert [each["name"] for each in view["steps"]] == ["greet", "shout"]
    assert (view["version"], view["description"]) == (1, "Says hello.")


def test_a_run_of_a_commit(world):
    world.workflows.create(MANIFEST)
    run = world.workflows.run(
        Wish("wf", ("p", "c"), commit="abc123", inputs={"who": "you"}, by="ada")
    )
    assert run.workflow.inputs == {
        "code": {
            "project": "p",
            "name": "c",
            "version": "abc123",
            "url": "http://volant/git/p/c.git",
        },
        "who": "you",
    }
    assert (run.project, run.codeset, run.started_by) == ("p", "p/c", "ada")
    assert (run.queue_key, run.trigger) == ("workflow/wf/p/c", "by ada")
    assert run.workflow.version == 1
    assert world.runs.get(run.id)[1].status is RunStatus.QUEUED


def test_a_run_without_a_codeset_has_no_queue(world):
    world.workflows.create(PLAIN)
    run = world.workflows.run(Wish("plain", by="ada"))
    assert (run.codeset, run.project, run.queue_key) == (None, None, None)


def test_a_codeset_may_be_an_input_like_any_other(world):
    world.codesets.heads["q", "d"] = "d1"
    world.workflows.create(MANIFEST)
    for text, commit in (("q/d", "d1"), ("q/d@d0", "d0")):
        run = world.workflows.run(Wish("wf", inputs={"code": text}))
        assert run.workflow.inputs["code"]["version"] == commit
    with pytest.raises(InvalidInput, match="'d' names none"):
        world.workflows.run(Wish("wf", inputs={"code": "d"}))


def test_no_cache_and_an_older_version(world):
    world.workflows.create(MANIFEST)
    world.workflows.update(MANIFEST.replace("echo hello", "echo bye"))
    spec, _ = world.workflows.compiled(Wish("wf", ("p", "c")))
    assert [step.cache for step in spec.steps] == [True, True]
    old = world.workflows.run(Wish("wf", ("p", "c"), version=1, no_cache=True))
    assert old.workflow.version == 1
    assert old.workflow.steps[0].run == "echo hello"
    assert [step.cache for step in old.workflow.steps] == [False, False]


@pytest.mark.parametrize(
    ("wish", "kind", "said"),
    [
        (Wish("wff", ("p", "c")), NotFound, "wff"),
        (Wish("wf", ("p", "c"), version=9), NotFound, "no version 9"),
        (Wish("wf", ("p", "nothing")), NotFound, "p/nothing"),
        (Wish("wf"), InvalidInput, "codeset"),
        (Wish("wf", ("p", "c"), inputs={"whoo": "x"}), InvalidInput, "whoo"),
    ],
)
def test_what_cannot_run(world, wish, kind, said):
    world.workflows.create(MANIFEST)
    with pytest.raises(kind) as caught:
        world.workflows.run(wish)
    assert said in caught.value.what
    assert world.runs.page(10)[0] == []


def test_services_are_chosen_for_each_run(world):
    world.workflows.create(
        "name: e\nsteps:\n  - name: a\n    extensions: [{name: track, product: mlflow}]\n"
        "    run: echo {{ extensions.track.url }}\n"
    )
    world.chosen["track"] = "http://one"
    [step] = world.workflows.run(Wish("e")).workflow.steps
    assert step.extensions["track"].url == "http://one"


def test_a_plan_starts_nothing(world):
    world.workflows.create(MANIFEST)
    told = world.workflows.plan(Wish("wf"))
    assert told["inputs"]["code"]["name"] == "CODESET"
    assert [step["name"] for step in told["steps"]] == ["greet", "shout"]
    assert told["estimate"]["unknown"] == ["greet", "shout"]
    assert any("greet" in line for line in told["drawing"])
    of_text = world.workflows.plan(Wish(""), source=PLAIN, file="x.yaml")
    assert (of_text["workflow"], of_text["version"]) == ("plain", 0)
    with pytest.raises(InvalidInput, match=r"x\.yaml"):
        world.workflows.plan(Wish(""), source="name: x\n", file="x.yaml")
    assert world.runs.page(10)[0] == []


def test_a_plan_knows_what_steps_took(world):
    run = world.assigned()
    took = {"started_at": NOW, "status": RunStatus.SUCCEEDED}
    world.engine.set(
        run.id,
        RunStatus.SUCCEEDED,
        greet=took | {"ended_at": NOW + timedelta(seconds=10)},
        shout=took | {"ended_at": NOW, "cached": "run-0"},
    )
    estimate = world.workflows.plan(Wish("wf", ("p", "c")))["estimate"]
    assert (estimate["wall_s"], estimate["cost"], estimate["unknown"]) == (10, 0.01, ["shout"])
