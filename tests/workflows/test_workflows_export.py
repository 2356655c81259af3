from __future__ import annotations

import ast

import pytest
import yaml

from volant.workflows.export import TARGETS, caller, export
from volant.workflows.export.outline import fitting, outline_of
from volant.workflows.export.program import program_of
from volant.workflows.manifest import parse_manifest

MANIFEST = r"""
name: Sums_up
description: Adds "things" {up}, it's a $HOME of a test.
inputs:
  - name: code
    type: codeset
  - name: first_number
    type: number
    default: "2"
    description: "Where to begin: it's {{ a }} number"
  - name: first-number
    default: "it's \"good\" \\ $HOME"
  - name: marked
    default: "$(this) ${{ that }}"
steps:
  - name: begin
    run: "true"
    outputs: [{name: sum}]
  - name: left_side
    run: echo {{ steps.begin.outputs.sum }}
    outputs: [{name: product}]
  - name: left-side
    run: echo {{ steps.begin.outputs.sum }}
    outputs: [{name: product}]
  - name: end
    needs: [begin]
    run: echo {{ steps.left_side.outputs.product }} {{ steps.left-side.outputs.product }}
  - name: last
    run: "true"
"""


@pytest.fixture(scope="module")
def outline():
    return outline_of(parse_manifest(MANIFEST), 3)


def written(outline, to):
    return export(outline, to)[0]


def test_an_outline_has_the_order_and_the_inputs(outline):
    needs = {task.name: task.needs for task in outline.tasks}
    assert needs["left_side"] == needs["left-side"] == ("begin",)
    assert needs["end"] == ("begin", "left_side", "left-side")
    assert needs["last"] == ("end",)  # it refers to nothing, so it keeps its place
    assert [[task.name for task in level] for level in outline.levels()] == [
        ["begin"],
        ["left_side", "left-side"],
        ["end"],
        ["last"],
    ]
    assert outline.codeset == "code"
    assert {each.name: (each.default, each.required) for each in outline.parameters} == {
        "code": ("", True),
        "first_number": ("2", False),
        "first-number": ('it\'s "good" \\ $HOME', False),
        "marked": ("", False),  # another system would read it as its own; the server has it
    }


def test_names_fit_and_stay_different():
    assert fitting(["a_b", "a-b", "A b"], r"[^a-z0-9-]", lower=True) == {
        "a_b": "a-b",
        "a-b": "a-b-2",
        "A b": "a-b-3",
    }
    long = fitting(["x" * 80, "x" * 81], r"[^a-z]", longest=20)
    assert sorted(map(len, long.values())) == [20, 20]
    assert fitting(["__"], r"[^a-z]") == {"__": "x"}


def test_the_program_needs_nothing_and_holds_nothing_that_others_read(outline):
    text = program_of(outline)
    imported = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= {
        *("json", "os", "signal", "sys", "threading", "time", "urllib"),
    }
    for mark in ("{{", "}}", "${", "$(", "\\", "'''", "\t"):
        assert mark not in text
    assert "noqa" not in text
    space: dict[str, object] = {"__name__": "a program"}
    exec(text, space)
    assert (space["WORKFLOW"], space["VERSION"], space["CODESET"]) == ("Sums_up", 3, "code")
    assert space["PARAMETERS"] == {e.name: e.variable for e in outline.parameters}


def test_a_codeset_with_nothing_after_its_sign_is_refused(monkeypatch):
    monkeypatch.setattr(caller, "CODESET", "code")
    monkeypatch.setattr(caller.signal, "signal", lambda *_: None)
    with pytest.raises(ValueError, match="Nothing stands after the @ of p/c@"):
        caller.run_step("a", "k", {"code": "p/c@"})


@pytest.mark.parametrize("to", TARGETS)
def test_every_file_says_whose_it_is(outline, to):
    text, file = export(outline, to)
    assert "Workflow Sums_up, version 3" in text.splitlines()[0]
    assert file
    assert text.endswith("\n")
    assert "volant workflow export" in text


def test_airflow(outline):
    text = written(outline, "airflow")
    tree = ast.parse(text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {"DAG", "Param", "volant_step", "step_5"} <= names
    assert "    [step_1, step_2, step_3] >> step_4\n" in text
    assert "    [step_4] >> step_5\n" in text
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    params = [call for call in calls if getattr(call.func, "id", "") == "Param"]
    assert [ast.literal_eval(call.args[0]) for call in params] == [
        *("", "2", 'it\'s "good" \\ $HOME', ""),
    ]


def test_argo(outline):
    spec = yaml.safe_load(written(outline, "argo"))["spec"]
    dag, step = spec["templates"]
    tasks = {task["name"]: task for task in dag["dag"]["tasks"]}
    assert list(tasks) == ["begin", "left-side", "left-side-2", "end", "last"]
    assert tasks["end"]["dependencies"] == ["begin", "left-side", "left-side-2"]
    assert tasks["left-side"]["arguments"]["parameters"][0]["value"] == "left_side"
    env = {each["name"]: each.get("value") for each in step["script"]["env"]}
    given = {each["name"]: each["value"] for each in spec["arguments"]["parameters"]}
    assert given == {
        "code": "",
        "first_number": "2",
        "first-number": 'it\'s "good" \\ $HOME',
        "marked": "",
    }
    assert env["VOLANT_PARAM_3"] == "{{workflow.parameters.first-number}}"
    assert step["script"]["source"] == program_of(outline)


def test_tekton(outline):
    task, pipeline = yaml.safe_load_all(written(outline, "tekton"))
    assert (task["kind"], pipeline["kind"]) == ("Task", "Pipeline")
    tasks = {each["name"]: each for each in pipeline["spec"]["tasks"]}
    assert tasks["end"]["runAfter"] == ["begin", "left-side", "left-side-2"]
    assert {each["taskRef"]["name"] for each in tasks.values()} == {task["metadata"]["name"]}
    wanted = {each["name"] for each in task["spec"]["params"]}
    assert all({p["name"] for p in each["params"]} == wanted for each in tasks.values())
    (step,) = task["spec"]["steps"]
    assert step["script"] == "#!/usr/bin/env python3\n" + program_of(outline)
    defaults = {p["name"]: p.get("default") for p in pipeline["spec"]["params"]}
    assert defaults["code"] is None  # it must be given


def test_github_actions(outline):
    text = written(outline, "github-actions")
    assert "\non:\n" in text
    found = yaml.safe_load(text)
    assert found["jobs"]["end"]["needs"] == ["begin", "left_side", "left-side"]
    inputs = found[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads `on` so
    assert inputs["code"]["required"]
    assert "{{" not in inputs["first_number"]["description"]
    assert found["env"]["VOLANT_PARAM_2"] == "${{ inputs.first_number }}"
    assert found["jobs"]["begin"]["steps"][0]["run"] == program_of(outline)


def test_jenkins(outline):
    text = written(outline, "jenkins")
    assert "name: 'first_number', defaultValue: '2'" in text
    assert "name: 'first_number_2', defaultValue: 'it\\'s \"good\" \\\\ $HOME'" in text
    assert 'VOLANT_PARAM_3 = "${params.first_number_2}"' in text
    assert text.count("sh 'python3 volant_step.py'") == 5
    assert text.count("parallel {") == 1
    outside = text.partition("text: '''")[0] + text.rpartition("'''")[2]
    assert outside.count("{") == outside.count("}")


def test_a_workflow_without_inputs(outline):
    bare = outline_of(parse_manifest("name: bare\nsteps: [{name: 1st, run: 'true'}]"), 1)
    for to in TARGETS:
        text, _ = export(bare, to)
        if to in ("argo", "tekton", "github-actions"):
            assert all(yaml.safe_load_all(text))
    assert "_1st" in yaml.safe_load(written(bare, "github-actions"))["jobs"]
    assert yaml.safe_load(written(bare, "github-actions"))[True] == {"workflow_dispatch": {}}
