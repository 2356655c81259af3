"""`volant workflow`, and what `volant runs` tells of workflows' runs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalog_world import MANIFEST, NOW, World, furnish

from volant.domain.run import RunStatus
from volant.web.api.app import create_app


@pytest.fixture
def world(tmp_path, store):
    return World(tmp_path, store)


@pytest.fixture
def platform(serving, platform, world):
    serving.app = create_app(furnish(platform, world))
    return platform


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "wf.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_fuseml_s_walk_through_word_for_word(volant, world, file):
    assert volant("workflow", "create", file).out == 'Workflow "wf" successfully created\n'
    named = ("--name", "wf", "--codeset-name", "c", "--codeset-project", "p")
    assert volant("workflow", "assign", *named).out == 'Workflow "wf" assigned to codeset "p/c"\n'
    [(run, _)], _ = world.runs.page(5)
    assert volant("workflow", "list-runs", "--name", "wf").out.splitlines()[1].split() == [
        *(run.id, "wf", "---", "---", "Queued")
    ]
    took = {"started_at": NOW, "ended_at": NOW + timedelta(seconds=75)}
    state = world.engine.known[run.id]
    world.engine.set(run.id, RunStatus.SUCCEEDED, greet=took)
    world.engine.known[run.id] = type(state)(
        run.id, RunStatus.SUCCEEDED, state.steps, NOW, NOW + timedelta(seconds=75)
    )
    head, row = volant("workflow", "list-runs").out.splitlines()
    assert head.split() == ["NAME", "WORKFLOW", "STARTED", "DURATION", "STATUS"]
    assert "1m 15s" in row
    assert row.endswith("Succeeded")
    assert volant("workflow", "unassign", *named).out == (
        'Workflow "wf" unassigned from codeset "p/c"\n'
    )
    assert volant("workflow", "delete", "-n", "wf").out == "Workflow wf successfully deleted\n"


def test_a_workflow_is_named_by_position_too(volant, world, file):
    volant("workflow", "create", file)
    assert "assigned" in volant("workflow", "assign", "wf", "p/c").out
    assert "assigned" in volant("workflow", "assign", "--name", "wf", "p/c").out
    assert volant("workflow", "get", "wf").out.startswith("wf  version 1")
    assert volant("workflow", "get", "--source", "wf").out == MANIFEST
    assert "p/c" in volant("workflow", "list-assignments").out
    assert volant("workflow", "list").out.splitlines()[1].startswith("wf ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get",), "Which workflow?"),
        (("get", "wf", "--name", "wf"), "twice"),
        (("assign", "wf"), "Which codeset?"),
        (("assign", "wf", "c"), "project"),
        (("assign", "wf", "p/c@abc"), "commit"),
        (("run", "wf", "p/c", "-i", "who"), "NAME=VALUE"),
        (("run", "wf", "p/c", "-i", "who=5", "-i", "who=6"), "given twice"),
        (("run", "wf", "p/c@"), "Nothing stands after the @"),
        (("assign", "wf", "p/c@"), "Nothing stands after the @"),
        (("run", "wf", "-i", "code=p/c@"), "names none"),
        (("list-runs", "--name", "wff"), "no workflow 'wff'"),
        (("list-runs", "-s", "odd"), "no status"),
        (("create",), "--template"),
        (("create", "nothing.yaml"), "can't be read"),
        (("create", "--template", "mlprojekt"), "mlproject"),
    ],
)
def test_what_is_asked_wrongly(volant, world, file, words, said):
    volant("workflow", "create", file)
    found = volant("workflow", *words)
    assert found.code != 0
    assert said in found.err + found.out


def test_runs_of_a_deleted_workflow_stay_in_the_list(volant, world, file):
    volant("workflow", "create", file)
    run = volant("workflow", "run", "wf", "p/c", "--json").json["id"]
    of_it = ("workflow", "list-runs", "--name", "wf")
    assert run in volant(*of_it).out
    assert volant(*of_it, "--status", "failed").code == 0
    volant("workflow", "delete", "wf")
    assert run in volant(*of_it).out
    named = ("--codeset-name", "c", "--codeset-project", "p", "--status", "queued")
    assert run in volant(*of_it, *named).out
    assert run in volant("runs").out


def test_an_update_and_the_same_again(volant, world, file, tmp_path):
    volant("workflow", "create", file)
    assert "is unchanged (version 1)" in volant("workflow", "update", file).out
    (tmp_path / "wf.yaml").write_text(MANIFEST + "\n")
    assert "successfully updated (version 2)" in volant("workflow", "update", file).out
    assert len(volant("workflow", "versions", "wf").out.splitlines()) == 3


def test_a_plan_draws_the_graph(volant, world, file):
    told = volant("workflow", "plan", file).out
    assert "greet" in told
    assert "PROJECT/CODESET@HEAD" in told
    assert "none" in told


def test_templates_come_along(volant, world):
    assert "mlproject" in volant("workflow", "templates").out
    assert volant("workflow", "templates", "mlproject").out.startswith("#") or "steps:" in (
        volant("workflow", "templates", "mlproject").out
    )


def test_two_runs_compared_and_old_ones_gone(volant, world, file):
    volant("workflow", "create", file)
    a, b = (volant("workflow", "run", "wf", at, "--json").json["id"] for at in ("p/c", "p/c@abc"))
    told = volant("runs", "diff", a, b).out
    assert "inputs.code.version" in told
    assert volant("runs", "diff", a, a).code == 0
    world.engine.set(a, RunStatus.FAILED)
    assert "would go" in volant("runs", "prune", "--older-than", "0s").out
    assert "deleted" in volant("runs", "prune", "--older-than", "0s", "--apply").out
    assert not world.runs.known(a)
    assert volant("runs", "prune", "--older-than", "soon").code != 0
