"""`train.tune` of a loop file: read, refused, written back, compiled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from volant.domain.codec import from_plain, to_plain
from volant.domain.loop import Loop, LoopSpec, SearchRange, TuneSpec
from volant.errors import InvalidInput
from volant.loops.compile import compile_loop, task_of
from volant.loops.parse import parse
from volant.loops.render import render
from volant.workflows.plan import plan_workflow

HEAD = "kind: Loop\nname: wine\ndata: {dataset: wine, target: y}\ntrain:\n"
TUNE = """\
  call: "train:fit"
  params: {epochs: 20, text: "{{ braces }}"}
  tune:
    space:
      rate: {loguniform: [0.001, 1]}
      share: {uniform: [-1, 0.5]}
      depth: {int: [1, 9]}
      width: {logint: [1, 1024]}
      kind: {choice: [a, 2, null, [1, 2]]}
    trials: 40
    parallel: 2
    sampler: random
    pruner: asha
    timeout: 10m
    metric: f1
    folds: 3
"""
SMALL = '  call: "train:fit"\n  tune: {{space: {{depth: {{int: [1, 3]}}}}, {}}}\n'


def spec(text: str) -> LoopSpec:
    return parse(HEAD + text)


def test_every_key_is_read() -> None:
    tune = spec(TUNE).train.tune
    assert tune == TuneSpec(
        space={
            "rate": SearchRange("loguniform", 0.001, 1.0),
            "share": SearchRange("uniform", -1.0, 0.5),
            "depth": SearchRange("int", 1.0, 9.0),
            "width": SearchRange("logint", 1.0, 1024.0),
            "kind": SearchRange("choice", choices=("a", 2, None, [1, 2])),
        },
        trials=40,
        parallel=2,
        sampler="random",
        pruner="asha",
        timeout_s=600.0,
        metric="f1",
        folds=3,
    )
    assert task_of(spec(TUNE)) == "classification"


@pytest.mark.parametrize(
    "text",
    [
        TUNE,
        SMALL.format(""),
        SMALL.format("sampler: grid, pruner: none"),
        SMALL.format("metric: val_loss, direction: minimize"),
    ],
)
def test_it_is_written_back_as_it_was(text: str) -> None:
    found = spec(text)
    assert parse(render(found)) == found
    assert from_plain(LoopSpec, to_plain(found)) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  tune: {space: {a: {int: [1, 2]}}}", "train.tune searches for the parameters of"),
        (SMALL.format("metric: val_loss"), "its direction is missing"),
        (SMALL.format("metric: f1, direction: maximize"), "whose direction is known"),
        (SMALL.format("metric: loss, direction: up"), "'up' isn't there"),
        (SMALL.format("metric: loss, direction: minimize, folds: 3"), "Delete the key"),
        (SMALL.format("sampler: tpr"), "Did you mean tpe?"),
        (SMALL.format("pruner: hyperbnd"), "Did you mean hyperband?"),
        (SMALL.format("trial: 3"), "Did you mean trials?"),
        (SMALL.format("trials: 0"), "1 to 10000"),
        ('  call: "a:b"\n  tune: {trials: 3}', "train.tune.space is missing"),
        ('  call: "a:b"\n  tune: {space: {}}', "train.tune.space is empty"),
        ('  call: "a:b"\n  tune: {space: {a: 3}}', "must be a mapping, not the number 3"),
        ('  call: "a:b"\n  tune: {space: {a: {int: [1]}}}', "has 1 values"),
        ('  call: "a:b"\n  tune: {space: {a: {int: [1, 2.5]}}}', "must be a whole number"),
        ('  call: "a:b"\n  tune: {space: {a: {uniform: [2, 1]}}}', "2 is above 1"),
        ('  call: "a:b"\n  tune: {space: {a: {loguniform: [0, 1]}}}', "needs more than 0"),
        ('  call: "a:b"\n  tune: {space: {a: {choice: []}}}', "has 0 values"),
        ('  call: "a:b"\n  tune: {space: {a: {unform: [0, 1]}}}', "Did you mean uniform?"),
        (
            '  call: "a:b"\n  tune: {space: {a: {int: [0, 1], choice: [1]}}}',
            "needs exactly one range",
        ),
        (
            '  call: "a:b"\n  tune: {space: {a: {uniform: [0, 1]}}, sampler: grid}',
            "a grid can't hold train.tune.space.a",
        ),
        (
            '  call: "a:b"\n  params: {a: 1}\n  tune: {space: {a: {int: [0, 1]}}}',
            "stands in train.params too",
        ),
        (
            '  call: "a:b"\n  metric: rmse\n  tune: {space: {a: {int: [0, 1]}}, metric: f1}',
            "but this loop does regression",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        spec(text)
    problems = raised.value.details["problems"]
    words = [f"{problem['what']} {problem['fix']}" for problem in problems]
    assert any(told in each for each in words), words
    assert all(problem["line"] > 3 for problem in problems)


def loop(text: str) -> Loop:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    return Loop("wine", 1, HEAD + text, spec(text), now, now, "/code", "c0de")


def test_a_search_is_a_step_before_training() -> None:
    workflow = compile_loop(loop(TUNE), dataset_version=3, table_version=7)
    plan = plan_workflow(workflow)
    assert plan.order == ("split", "tune", "train", "evaluate", "register", "deploy")
    found: dict[str, Any] = {"split": {"train_path": "t", "task": "classification"}}
    given = plan.rendered("tune", found).inputs
    assert from_plain(TuneSpec, given["tune"]) == loop(TUNE).spec.train.tune
    assert given["params"] == {"epochs": 20, "text": "{{ braces }}"}
    found["tune"] = {"params": {"epochs": 20, "depth": 3}, "search": {"run": "s"}}
    assert plan.rendered("train", found).inputs["params"] == {"epochs": 20, "depth": 3}
    assert plan.rendered("train", found).inputs["search"] == {"run": "s"}
    without = compile_loop(loop('  call: "train:fit"\n'), dataset_version=3, table_version=7)
    assert "tune" not in [step.name for step in without.steps]
