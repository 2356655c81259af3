from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.loop import DataSpec, Loop, LoopSpec, TrainSpec
from volant.domain.metric import TASK_METRICS
from volant.loops.compile import STEPS, compile_loop, task_of
from volant.loops.diff import changes
from volant.loops.infer import volant_yaml
from volant.loops.parse import parse
from volant.workflows.plan import plan_workflow
from volant.yamltext.units import byte_count, duration_text, seconds, size_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINIMAL = "kind: Loop\nname: wine\ndata: {dataset: d, target: y}\n"


def loop(text: str) -> Loop:
    return Loop("wine", 1, text, parse(text), NOW, NOW, code_dir="code/wine/abc")


# -- init -------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_rules = st.builds(
    ColumnRule,
    _texts.filter(bool),
    st.just(ColumnType.NUMBER),
    st.booleans(),
    st.none() | st.floats(-1e12, 0),
    st.none() | st.floats(0, 1e300),
    st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1).map(tuple),
    st.booleans(),
) | st.builds(
    ColumnRule,
    _texts.filter(bool),
    st.just(ColumnType.STRING),
    values=st.none() | st.lists(_texts, min_size=1).map(tuple),
)


@settings(max_examples=100)
@given(st.data())
def test_the_file_that_init_writes_says_just_what_it_was_told(data: st.DataObject) -> None:
    columns = data.draw(
        st.none() | st.lists(_rules, min_size=1, max_size=6, unique_by=lambda c: c.name)
    )
    contract = None if columns is None else Contract(tuple(columns), inferred=True)
    target = data.draw(
        _texts.filter(bool) if columns is None else st.sampled_from([c.name for c in columns])
    )
    task = data.draw(st.none() | st.sampled_from(sorted(TASK_METRICS)))
    metric = data.draw(st.none() | st.sampled_from(TASK_METRICS[task or "regression"]))
    budget = data.draw(st.integers(1, 100_000).map(float))
    description = data.draw(_texts)
    text = volant_yaml(
        "wine",
        "wine-data",
        contract,
        target,
        task=task,
        metric=metric,
        budget_s=budget,
        seed=3,
        holdout=0.3,
        description=description,
    )
    declared = None if contract is None else Contract(contract.columns, inferred=False)
    assert parse(text) == LoopSpec(
        "wine",
        DataSpec("wine-data", target, declared, 0.3),
        TrainSpec(metric, budget, task, 3),
        description=description,
    )


def test_every_key_is_in_the_file_and_every_default_is_a_default() -> None:
    text = volant_yaml("wine", "wine", None, "y", task="regression")
    # With every commented default made real, the file still says the same.
    shown = text.replace("# thresholds:", "thresholds:").replace("  #   rmse:", "    rmse:")
    shown = shown.replace("    # metric:", "    metric:").replace("    # memory:", "    memory:")
    shown = shown.replace("  # - cron:", "  - cron:").replace("  # timeout:", "  timeout:")
    spec = parse(shown)
    assert spec.train.metric == "rmse"
    assert spec.train.timeout_s == 600
    assert spec.gate.thresholds[0].max == 0.75
    assert spec.replicas.memory_bytes == 10**9
    assert [t.kind for t in spec.triggers] == ["data", "cron"]
    assert max(len(line) for line in text.splitlines()) <= 110


# -- units ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("3 s", 3)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "1", "1 week", "-1s", "1e3s", "1s ", "1_0s", "\u0661s"])
def test_what_is_no_duration(text: str) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("512MB", 512 * 10**6), ("1GiB", 2**30), ("1.5KiB", 1536), ("7B", 7), ("2 TB", 2 * 10**12)],
)
def test_sizes(text: str, value: int) -> None:
    assert byte_count(text) == value


@pytest.mark.parametrize("text", ["", "1", "1M", "1gb", "-1B", "1kB", "GiB"])
def test_what_is_no_size(text: str) -> None:
    assert byte_count(text) is None


@given(st.floats(1, 10**7) | st.integers(1, 10**7).map(float))
def test_durations_round_trip(value: float) -> None:
    assert seconds(duration_text(value)) == value


@given(st.integers(0, 2**50))
def test_sizes_round_trip(value: int) -> None:
    assert byte_count(size_text(value)) == value


# -- compile ----------------------------------------------------------------


def test_a_loop_compiles_to_five_steps_in_order() -> None:
    workflow = compile_loop(loop(MINIMAL), dataset_version=3, table_version=7)
    assert tuple(step.name for step in workflow.steps) == STEPS
    assert tuple(step.uses for step in workflow.steps) == STEPS
    assert workflow.inputs["dataset"] == "d"
    assert workflow.inputs["dataset_version"] == 3
    assert workflow.inputs["table_version"] == 7
    by_name = {step.name: step for step in workflow.steps}
    assert by_name["deploy"].when == "{{ steps.evaluate.outputs.passed }}"
    assert by_name["deploy"].needs == ("evaluate", "register")
    assert all(step.timeout_s for step in workflow.steps)
    assert by_name["train"].retries == 0


def test_what_it_compiles_to_can_be_planned_and_resolved() -> None:
    workflow = compile_loop(loop(MINIMAL), dataset_version=3, table_version=7)
    plan = plan_workflow(workflow)
    assert plan.order == STEPS
    assert all(plan.needs[step.name] == set(step.needs) for step in workflow.steps)
    split = plan.rendered("split", {}).inputs
    assert (split["dataset"], split["table_version"], split["target"]) == ("d", 7, "y")
    outputs = {"split": {"train_path": "t", "task": "regression"}}
    train = plan.rendered("train", outputs).inputs
    assert (train["code_dir"], train["params"]) == ("code/wine/abc", {})
    for passed in (True, False):
        assert plan.wanted("deploy", {"evaluate": {"passed": passed}}) is passed


def test_text_of_the_user_is_never_inside_a_template() -> None:
    text = MINIMAL.replace("target: y", 'target: "{{ inputs.x }}"')
    text += 'train: {call: "t:f", params: {prompt: "{{ steps.a.outputs.b }}"}}\n'
    workflow = compile_loop(loop(text))
    assert workflow.inputs["target"] == "{{ inputs.x }}"
    assert workflow.inputs["params"] == {"prompt": "{{ steps.a.outputs.b }}"}
    for step in workflow.steps:
        assert step.inputs.get("target") in (None, "{{ inputs.target }}")
        assert step.inputs.get("params") in (
            None,
            "{{ inputs.params }}",
            "{{ steps.train.outputs.params }}",
        )


def test_limits_come_from_the_file_or_from_the_budget() -> None:
    def train(text: str) -> tuple[float | None, int | None]:
        step = compile_loop(loop(MINIMAL + text)).steps[1]
        return step.timeout_s, step.memory_bytes

    assert train("") == (30 + 180, None)
    assert train("train: {timeout: 1h, memory: 1GB}\n") == (3600, 10**9)
    assert train('train: {call: "t:f", budget: 1m}\n') == (60 + 3600, None)


def test_the_task_is_the_one_declared_or_the_metrics() -> None:
    assert task_of(parse(MINIMAL)) is None
    assert task_of(parse(MINIMAL + "train: {automl: {metric: mae}}\n")) == "regression"
    assert task_of(parse(MINIMAL + "gate: {thresholds: {f1: {min: 0}}}\n")) == "classification"
    assert task_of(parse(MINIMAL + "train: {automl: {task: regression}}\n")) == "regression"


# -- diff -------------------------------------------------------------------


def test_a_spec_does_not_differ_from_itself() -> None:
    assert changes(parse(MINIMAL), parse(MINIMAL)) == []


def test_columns_and_parameters_differ_one_by_one() -> None:
    before = """\
kind: Loop
name: wine
data: {dataset: d, target: y, contract: {columns: {y: {type: number}, x: {type: string}}}}
train: {call: "t:f", params: {depth: 1, old: {a: 1}}}
"""
    after = before.replace("x: {type: string}", '"x y": {type: string, unique: true}')
    after = after.replace("old: {a: 1}", "new: null").replace("depth: 1", "depth: 2")
    found = {c.path: (c.before, c.after) for c in changes(parse(before), parse(after))}
    assert found == {
        "data.contract.columns.x": ({"type": "string", "nullable": True}, None),
        "data.contract.columns.'x y'": (
            None,
            {"type": "string", "nullable": True, "unique": True},
        ),
        "train.params.depth": (1, 2),
        "train.params.old": ({"a": 1}, None),
        "train.params.new": (None, None),
    }


def test_a_new_trigger_is_a_change_of_the_list() -> None:
    after = parse(MINIMAL + 'triggers: [data, {cron: "0 2 * * *"}]\n')
    (change,) = changes(parse(MINIMAL), after)
    assert (change.path, change.before) == ("triggers", ["data"])
