"""A runnable's file: FuseML's drafts as they are, and every fault with its line."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.codec import from_plain, to_plain
from volant.domain.runnable import RunnableSpec
from volant.errors import InvalidInput
from volant.projects.runnable_file import is_number, read_runnable

PARAMETERS = """
id: example-02_parameter_use
description: |
  Input and output parameters
author: examples
container:
  image: registry.example.io/repo:tag
  env:
    FOO_IN: "{{inputs.foo_in}}"
    FOO_OUT_PATH: "{{outputs.foo_out}}"
  entrypoint: "/usr/bin/run.sh"
  args: [execute, --bar-in-path, "{{inputs.bar_in}}"]
input:
  parameters:
    foo_in:
      description: Input parameter foo
    bar_in:
      optional: true
      defaultValue: baz
      path: /inputs/bar.txt
      labels: {variable: bar}
  artifacts:
    trainer:
      kind:
        codeset: {function: [model-training]}
      path: /workspace/trainer
output:
  parameters:
    foo_out:
      description: Output parameter foo
labels:
  function: example
"""

LATER = """
runnable:
  id: example-runnable-1234
  kind: trainer
  implem:
    image: registry.example.io/repo:tag
    entrypoint: python {{inputs[code].path}}/run.py
  defaultInputPath: /inputs
  labels: {purpose: example}
  inputs:
    one: {type: parameter, optional: true, defaultValue: example-value}
    two: {passByValue: {toPath: /inputs/two.txt}, labels: {length: "10"}}
    code: {type: codeset, artifact: {store: gitea, name: c, version: v1.3}}
    base: {type: model, passByReference: }
  outputs:
    score: {type: number, passByValue: {fromPath: /custom/score.txt}}
    model: {type: model, provides: {field: name}}
"""


def test_the_draft_with_parameters_and_artifacts():
    spec = read_runnable(PARAMETERS)
    assert spec.id == "example-02_parameter_use"
    assert spec.container.args == ("execute", "--bar-in-path", "{{inputs.bar_in}}")
    assert [(p.name, p.type, p.optional, p.path) for p in spec.inputs] == [
        ("foo_in", "string", False, None),
        ("bar_in", "string", True, "/inputs/bar.txt"),
        ("trainer", "codeset", False, "/workspace/trainer"),
    ]
    assert spec.output("foo_out").description == "Output parameter foo"
    assert spec.labels == {"function": "example"}


def test_the_later_draft():
    spec = read_runnable(LATER)
    assert spec.kind == "trainer"
    assert spec.input("one").default == "example-value"
    assert spec.input("two").path == "/inputs/two.txt"
    assert spec.input("code").type == "codeset"
    assert spec.output("score").path == "/custom/score.txt"
    assert [port.name for port in spec.outputs] == ["score", "model"]
    assert from_plain(RunnableSpec, json.loads(json.dumps(to_plain(spec)))) == spec


def test_json_is_read_too():
    text = json.dumps({"id": "a", "container": {"image": "x"}})
    assert read_runnable(text).container.image == "x"


BASE = "id: a\ncontainer: {image: x}\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("id: a", 1, "container is missing"),
        ("container: {image: x}", 1, "id is missing"),
        ("id: a b\ncontainer: {image: x}", 1, "can't be an id"),
        ("id: a\ncontainer: {}", 2, "neither an image nor an entrypoint"),
        (BASE + "kind: trainr", 3, "Did you mean trainer"),
        (BASE + "inputs: {x: {type: modl}}", 3, "Did you mean model"),
        (BASE + "inputs: {x: {typ: model}}", 3, "Did you mean type"),
        (BASE + "inputs: {'a b': {}}", 3, "can't be a name"),
        (BASE + "inputs: {n: {type: number, default: many}}", 3, "not a number"),
        (BASE + "inputs: {n: {path: '/'}}", 3, "no path of a file"),
        ("id: a\ncontainer: {image: x, env: {1A: b}}", 2, "name of a variable"),
        ("id: a\ncontainer: {image: x, entrypoint: 'do {{ inputs.x }}'}", 2, "inputs.x"),
        ("id: a\ncontainer: {image: x, entrypoint: 'do {{ now() }}'}", 2, "no expression"),
    ],
)
def test_faults_have_their_line_and_a_way_out(text, line, words):
    with pytest.raises(InvalidInput, match=r"r\.yaml:") as told:
        read_runnable(text, "r.yaml")
    problems = told.value.details["problems"]
    assert any(
        each["line"] == line and words in f"{each['what']} {each['fix']}" for each in problems
    ), problems


def test_all_faults_are_told_at_once():
    with pytest.raises(InvalidInput, match="3 problems"):
        read_runnable("id: a b\nkind: x\ncontainer: {image: x}\nwhat: 1")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    with suppress(InvalidInput):
        assert read_runnable(text).id


@pytest.mark.parametrize("text", ["1", "-1.5", ".5", "1.", "1e-3", "+2E5", " 7 "])
def test_numbers(text):
    assert is_number(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e", "1 2", "0x10", "--1", "."])
def test_no_numbers(text):
    assert not is_number(text)
