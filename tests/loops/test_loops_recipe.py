"""`train.recipe`: read, refused with reasons, written back, and compiled."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from volant.domain.loop import Loop
from volant.domain.recipe import RECIPES, with_defaults
from volant.errors import InvalidInput
from volant.loops.compile import compile_loop, task_of
from volant.loops.parse import parse
from volant.loops.render import render

HEAD = "kind: Loop\nname: moods\ndata: {dataset: reviews, target: mood}\n"
GOOD = HEAD + (
    "train:\n  recipe: text-classification\n  metric: f1\n  seed: 3\n  timeout: 2h\n"
    "  params: {model: /models/m, text: review, epochs: 2, learning_rate: 3e-5}\n"
)


def test_a_recipe_is_read_and_written_back():
    spec = parse(GOOD)
    assert (spec.train.recipe, spec.train.call, spec.train.seed) == ("text-classification", None, 3)
    assert spec.train.params["learning_rate"] == 3e-5
    assert parse(render(spec)) == spec
    assert task_of(spec) == "classification"


def test_a_recipe_becomes_an_input_of_the_training_step():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    plain = parse(GOOD.replace("  timeout: 2h\n", ""))
    workflow = compile_loop(Loop("moods", 1, GOOD, plain, now, now))
    (train,) = (step for step in workflow.steps if step.name == "train")
    assert train.inputs["recipe"] == "text-classification"
    assert workflow.inputs["params"]["model"] == "/models/m"
    assert train.timeout_s == pytest.approx(86_430)


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ("recipe: text-clasification\n  params: {model: m}", "Did you mean text-classification?"),
        ("recipe: text-classification", "needs model"),
        ("recipe: text-classification\n  params: {model: m, epoch: 1}", "Did you mean epochs?"),
        ("recipe: text-classification\n  params: {model: m, epochs: 0}", "from 1 to 10000"),
        ("recipe: text-classification\n  params: {model: m, epochs: true}", "whole number"),
        ("recipe: text-classification\n  params: {model: m, precision: half}", "Use one of: auto"),
        ("recipe: text-classification\n  params: {model: 7}", "Write a text"),
        ("recipe: text-classification\n  call: a:b\n  params: {model: m}", "both recipe and call"),
        ("recipe: text-classification\n  automl: {}\n  params: {model: m}", "recipe and automl"),
        (
            "recipe: text-classification\n  task: regression\n  params: {model: m}",
            "does classification",
        ),
        ("recipe: text-classification\n  metric: rmse\n  params: {model: m}", "rmse measures"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(train, told):
    with pytest.raises(InvalidInput) as refused:
        parse(f"{HEAD}train:\n  {train}\n")
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["images", "pytorch"])
def test_the_examples_of_trainings_are_loops(name):
    folder = Path(__file__).parents[2] / "examples" / "training" / name
    spec = parse((folder / "volant.yaml").read_text())
    assert spec.train.call == "train:fit"
    assert "def fit(" in (folder / "train.py").read_text()


def test_every_option_has_its_default():
    assert with_defaults("text-classification", {"model": "m", "epochs": None}) == {
        **{name: option.default for name, option in RECIPES["text-classification"].items()},
        "model": "m",
    }
