"""Plans: order, what is refused, and that order for every graph there is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.workflow import ExtensionBinding, StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.plan import plan_workflow


def step(name, *needs, **more):
    more.setdefault("uses", "x")
    return StepSpec(name, needs=needs, **more)


def plan(*steps, **inputs):
    return plan_workflow(WorkflowSpec("w", steps, inputs))


def test_data_flow_gives_the_order():
    made = plan(
        step("deploy", when="steps.gate.outputs.passed"),
        step("gate", inputs={"deep": [{"m": "at {{ steps.train.outputs.dir }}"}]}),
        step("train", inputs={"seed": "{{ inputs.seed }}"}),
        step("notify", "deploy"),
        seed=7,
    )
    assert made.order == ("train", "gate", "deploy", "notify")
    assert made.needs["gate"] == {"train"}
    assert made.needs["deploy"] == {"gate"}
    assert made.downstream("gate") == {"deploy", "notify"}
    assert made.rendered("train", {}).inputs == {"seed": 7}
    assert made.wanted("train", {})
    assert not made.wanted("deploy", {"gate": {"passed": 0}})


@pytest.mark.parametrize(
    ("steps", "code", "said"),
    [
        ([], "empty_workflow", "no steps"),
        ([step("a"), step("a")], "duplicate_step", "'a'"),
        ([step("a/b")], "invalid_name", "'a/b'"),
        ([step("")], "invalid_name", "''"),
        ([step("..")], "invalid_name", "'..'"),
        ([step("a:b")], "invalid_name", "'a:b'"),
        ([step("train"), step("b", "trian")], "unknown_step", "'train'"),
        ([step("a", inputs={"x": "{{ steps.b.outputs.y }}"})], "unknown_reference", "'b'"),
        ([step("a", inputs={"x": "{{ inputs.sed }}"})], "unknown_reference", "'seed'"),
        ([step("a", when="steps.q.outputs.y")], "unknown_reference", "'q'"),
        ([step("a", when="1 +")], "invalid_expression", "steps.a.when"),
        ([step("a", inputs={"x": "{{ }}"})], "invalid_expression", "steps.a.inputs.x"),
        ([step("a", uses=None)], "invalid_step", "none of them"),
        ([step("a", run="ls", call="m:f")], "invalid_step", "uses and call and run"),
        ([step("a", image="i")], "invalid_step", "uses and image"),
        ([step("a", uses=None, image="i", call="m:f", run="ls")], "invalid_step", "and image"),
        ([step("a", cpu=0)], "invalid_step", "cpu = 0"),
        ([step("a", after=("b",))], "unknown_step", "'b'"),
        ([step("a", uses=None, image="{{ inputs.sed }}")], "unknown_reference", "'seed'"),
        ([step("a", env={"X": "{{ steps.b.outputs.y }}"})], "unknown_reference", "'b'"),
        ([step("a", uses=None, run="{{ extensions.e.url }}")], "unknown_reference", "'e'"),
        ([step("a", inputs={"x": "{{ item }}"})], "unknown_reference", "no foreach"),
        ([step("a", foreach="a,b", when="item")], "unknown_reference", "in its when"),
        ([step("a", foreach="{{ item }}")], "unknown_reference", "in its foreach"),
        ([step("a", "a")], "circular_steps", "a → a"),
        ([step("a", retries=-1)], "invalid_step", "retries = -1"),
        ([step("a", backoff_s=-1)], "invalid_step", "backoff_s = -1"),
        ([step("a", timeout_s=0)], "invalid_step", "timeout_s = 0"),
        ([step("a", memory_bytes=0)], "invalid_step", "memory_bytes = 0"),
    ],
)
def test_refused(steps, code, said):
    with pytest.raises(InvalidInput) as caught:
        plan(*steps, seed=1)
    assert caught.value.error_code == code
    assert said in str(caught.value)
    assert caught.value.fix


def test_an_image_stands_alone_or_with_call_or_run():
    for more in ({}, {"call": "m:f"}, {"run": "ls"}):
        assert plan(step("a", uses=None, image="i", **more)).order == ("a",)


def test_references_in_every_field_are_needs():
    made = plan(
        *(step(name) for name in "abcdef"),
        step(
            "last",
            "a",
            uses=None,
            image="{{ steps.b.outputs.image }}",
            run="echo {{ steps.c.outputs.o }}",
            env={"X": "{{ steps.d.outputs.o }}"},
            foreach="{{ steps.e.outputs.o }}",
            after=("f",),
        ),
    )
    assert made.needs["last"] == set("abcdef")


def test_rendered_fills_in_every_field_but_call():
    service = ExtensionBinding("e", "s", url="http://s", cfg={"KEY": "secret://e/s/c/KEY"})
    code = {"project": "p", "name": "c", "version": "1f", "url": "http://g/p/c"}
    made = plan(
        step("a"),
        step(
            "b",
            uses=None,
            image="r/{{ inputs.code.name }}:{{ steps.a.outputs.tag }}",
            run="fit {{ inputs.code }} {{ item.size }}",
            inputs={
                "whole": "{{ inputs.code }}",
                "mapping": {"deep": ["{{ item }}"]},
                "number": "{{ steps.a.outputs.number }}",
            },
            env={"N": "{{ steps.a.outputs.number }}", "KEY": "{{ extensions.s.cfg.KEY }}!"},
            foreach="{{ steps.a.outputs.list }}",
            extensions={"s": service},
        ),
        step("c", uses=None, call="m:{{ not }}"),
        code=code,
    )
    outputs = {"a": {"tag": "v1", "number": 2.5, "list": [{"size": 3}]}}
    assert made.items("b", outputs) == [{"size": 3}]
    assert made.items("a", outputs) is None
    spec = made.rendered("b", outputs, {"size": 3})
    assert spec.image == "r/c:v1"
    assert spec.run == "fit http://g/p/c:1f 3"
    assert spec.inputs == {"whole": code, "mapping": {"deep": [{"size": 3}]}, "number": 2.5}
    assert spec.env == {"N": "2.5", "KEY": "secret://e/s/c/KEY!"}
    assert made.rendered("c", {}).call == "m:{{ not }}"
    with pytest.raises(InvalidInput, match="has no 'number'"):
        made.rendered("b", {"a": {}}, 1)


@pytest.mark.parametrize(("text", "wanted"), [("false", False), ("", False), ("no", True)])
def test_when_reads_what_texts_say(text, wanted):
    assert plan(step("a", when="inputs.go"), go=text).wanted("a", {}) is wanted


def test_when_knows_extensions():
    made = plan(
        step("a", when="extensions.s.zone == 'x'", extensions={"s": ExtensionBinding("e", "s")})
    )
    assert not made.wanted("a", {})


def test_a_circle_is_named_in_order():
    with pytest.raises(InvalidInput) as caught:
        plan(
            step("before"),
            step("a", "c", "before"),
            step("b", inputs={"x": "{{ steps.a.outputs.y }}"}),
            step("c", "b"),
            step("after", "c"),
        )
    circle = caught.value.details["steps"]
    assert circle[0] == circle[-1]
    assert set(circle) == {"a", "b", "c"}


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.tuples(
            st.permutations(range(count)),
            st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=30),
        )
    )
)
def test_every_graph_is_ordered_or_has_the_circle_that_is_named(graph):
    written, edges = graph
    needs = {n: sorted(f"s{a}" for a, b in edges if b == n) for n in written}
    steps = [step(f"s{n}", *needs[n]) for n in written]
    try:
        made = plan(*steps)
    except InvalidInput as error:
        circle = error.details["steps"]
        assert all((int(b[1:]), int(a[1:])) in edges for a, b in pairwise(circle))
    else:
        assert sorted(made.order) == sorted(s.name for s in steps)
        place = {name: index for index, name in enumerate(made.order)}
        assert all(place[f"s{a}"] < place[f"s{b}"] for a, b in edges)
