from __future__ import annotations

from volant.domain.run import RunStatus, StepState
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.workflows.outside import alone
from volant.workflows.plan import plan_workflow

SPEC = WorkflowSpec(
    "w",
    (
        StepSpec("a", run="true", outputs=("o",)),
        StepSpec("b", run="true", outputs=("o",)),
        StepSpec(
            "c",
            run="echo {{ steps.a.outputs.o }}",
            inputs={"whole": "{{ steps.a.outputs.many }}"},
            needs=("a",),
            after=("b",),
            when="steps.a.outputs.o == 'x'",
            foreach="{{ steps.a.outputs.many }}",
        ),
    ),
    outputs={"o": "{{ steps.c.outputs.o }}"},
    version=2,
)


def state(name, status=RunStatus.SUCCEEDED, **outputs):
    return StepState(name, status, outputs=outputs)


def test_one_step_alone_has_what_the_others_gave():
    before = {"a": state("a", o="x", many=[1, 2]), "b": state("b", RunStatus.SKIPPED)}
    one = alone(SPEC, "c", before)
    plan = plan_workflow(one)
    assert plan.order == ("c",)
    assert plan.needs["c"] == frozenset()
    assert plan.wanted("c", {})
    assert plan.items("c", {}) == [1, 2]
    found = plan.rendered("c", {}, 1)
    assert (found.run, found.inputs) == ("echo x", {"whole": [1, 2]})
    assert (one.version, one.outputs) == (2, {})


def test_it_is_skipped_if_what_it_needs_was():
    before = {"a": state("a", RunStatus.SKIPPED), "b": state("b")}
    assert not plan_workflow(alone(SPEC, "c", before)).wanted("c", {})
