"""Dry runs and drawings."""

import json

import pytest

from volant.domain.workflow import ExtensionBinding, StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.dag import drawing, dry_run


def step(name, *needs, **more):
    more.setdefault("uses", "pass")
    return StepSpec(name, needs=needs, **more)


TRAIN = WorkflowSpec(
    "train",
    (
        step("build", inputs={"code": {"name": "{{ inputs.code.name }}"}}, cache=True),
        step("fit", "build", uses=None, image="{{ steps.build.outputs.image }}", cpu=2.0),
        step(
            "serve",
            "fit",
            when="inputs.go",
            inputs={"text": "{{ inputs.code }}", "model": "{{ steps.fit.outputs.model }}"},
            env={"URL": "{{ extensions.s.url }}"},
            extensions={"s": ExtensionBinding("e", "s3", url="http://s")},
        ),
        step("report", "fit", foreach="a, b, c"),
        step("each", "build", foreach="{{ steps.build.outputs.list }}"),
    ),
    {"code": {"project": "p", "name": "c", "version": "1f", "url": "u"}, "go": "x"},
    version=2,
)


def test_a_dry_run_tells_graph_steps_and_cost():
    told = dry_run(TRAIN, {"build": 60, "fit": 3540, "serve": 3, "gone": 99}, 2.0)
    json.dumps(told, allow_nan=False)
    assert told["version"] == 2
    assert told["levels"] == [["build"], ["fit", "each"], ["serve", "report"]]
    steps = {entry["name"]: entry for entry in told["steps"]}
    assert steps["build"]["inputs"] == {"code": {"name": "c"}}
    assert (steps["build"]["cache"], steps["fit"]["cache"]) == (True, False)
    assert (steps["fit"]["kind"], steps["fit"]["image"]) == (
        "image",
        "{{ steps.build.outputs.image }}",
    )
    assert steps["serve"]["inputs"] == {
        "text": TRAIN.inputs["code"],
        "model": "{{ steps.fit.outputs.model }}",
    }
    assert steps["serve"]["env"] == {"URL": "http://s"}
    assert steps["serve"]["extensions"] == {
        "s": {"extension": "e", "service": "s3", "url": "http://s"}
    }
    assert (steps["report"]["elements"], steps["each"]["elements"]) == (3, None)
    assert told["estimate"] == {
        "step_s": 3603.0,
        "wall_s": 3603.0,
        "price_per_hour": 2.0,
        "cost": pytest.approx(3603 / 3600 * 2, abs=1e-6),
        "unknown": ["report", "each"],
    }


def test_side_by_side_costs_both_and_takes_the_longer():
    both = WorkflowSpec("w", (step("a"), step("b"), step("c", "a", "b")))
    told = dry_run(both, {"a": 10, "b": 20, "c": 5})["estimate"]
    assert (told["step_s"], told["wall_s"], told["cost"]) == (35.0, 25.0, None)


def test_what_cannot_be_planned():
    with pytest.raises(InvalidInput):
        dry_run(WorkflowSpec("w", (step("a", "a"),)))


def drawn(*steps):
    """Without what is told beside the names."""
    lines = drawing(WorkflowSpec("w", steps, {"x": 1}))
    return [line.split("  uses")[0].rstrip() for line in lines]


def test_a_drawing():
    assert drawing(TRAIN) == [
        "build         uses pass · cached",
        "├─ fit        image {{ steps.build.outputs.image }}",
        "│  ├─ serve   uses pass · when inputs.go",
        "│  └─ report  uses pass · for each of 3",
        "└─ each       uses pass · for each",
    ]


def test_a_chain_is_drawn_straight_down():
    assert drawn(step("a"), step("b", "a"), step("c", "b")) == ["a", "│", "b", "│", "c"]


def test_a_join_stands_below_what_all_ways_lead_through():
    made = drawing(
        WorkflowSpec(
            "w",
            (
                step("load"),
                step("left", "load"),
                step("more", "left"),
                step("right", "load"),
                step("join", "more", "right"),
                step("end", "join"),
            ),
        )
    )
    assert made == [
        "load      uses pass",
        "├─ left   uses pass",
        "│  │",
        "│  more   uses pass",
        "├─ right  uses pass",
        "└─ join   uses pass · after more, right",
        "   │",
        "   end    uses pass",
    ]


def test_several_beginnings():
    assert drawn(step("a"), step("b"), step("c", "a", "b"), step("d", "b")) == [
        "a",
        "b",
        "│",
        "d",
        "c",
    ]


def test_a_long_chain_and_a_wide_graph_are_drawn():
    chain = tuple(step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(500))
    assert len(drawing(WorkflowSpec("w", chain))) == 999
    wide = (step("s0"), *(step(f"s{i}", "s0") for i in range(1, 500)))
    assert len(drawing(WorkflowSpec("w", wide))) == 500
    deep = [step("s0")]
    for i in range(249):
        deep += [step(f"s{i + 1}", f"s{i}"), step(f"t{i + 1}", f"s{i}")]
    assert len(drawing(WorkflowSpec("w", tuple(deep)))) == 499


def test_nothing_unprintable_is_drawn():
    [line] = drawing(WorkflowSpec("w", (step("a", uses=None, run="\x1b[2Jecho"),)))
    assert line == "a  run �[2Jecho"
