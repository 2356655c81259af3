"""What differs between two runs, and what a run gave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from volant.domain.run import Run, RunState, RunStatus, StepState
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.workflows.difference import difference
from volant.workflows.outcome import outputs_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STEPS = (
    StepSpec("build", run="build"),
    StepSpec(
        "train",
        run="train",
        image="{{ steps.build.outputs.image }}",
        env={"A": "1"},
        inputs={"who": "{{ inputs.who }}"},
        needs=("build",),
    ),
)
SPEC = WorkflowSpec(
    "wf",
    STEPS,
    {"who": "you", "code": {"project": "p", "name": "c", "version": "one"}},
    outputs={"model": "{{ steps.train.outputs.model }}", "none": "{{ steps.no.outputs.x }}"},
    version=1,
)


def found(run_id="run-a", spec=SPEC, image="env://1", model="m1", seconds=2.0, **train):
    run = Run(run_id, spec, NOW, codeset="p/c")
    took = {"started_at": NOW, "ended_at": NOW + timedelta(seconds=seconds)}
    done = RunStatus.SUCCEEDED
    states = (
        StepState("build", done, 1, outputs={"image": image}, **took),
        StepState("train", **{"status": done, "outputs": {"model": model}, **took, **train}),
    )
    return run, RunState(run_id, done, states)


def test_the_same_twice_differs_in_nothing():
    told = difference(found(), found("run-b", seconds=3.0))
    assert (told["workflow"], told["inputs"], told["outputs"]) == ({}, {}, {})
    assert told["steps"]["train"] == {"seconds": (2.0, 3.0), "changes": {}}


def test_a_commit_an_image_an_environment_and_an_output():
    code = {**SPEC.inputs["code"], "version": "two"}
    other = replace(
        SPEC,
        inputs={"who": "me", "code": code},
        steps=(STEPS[0], replace(STEPS[1], env={"A": "2", "B": "3"})),
        version=2,
    )
    told = difference(found(), found("run-b", other, image="env://2", model="m2"))
    assert told["workflow"] == {"version": (1, 2)}
    assert told["inputs"] == {"who": ("you", "me"), "code.version": ("one", "two")}
    assert told["outputs"] == {"model": ("m1", "m2")}
    assert told["steps"]["build"]["changes"] == {"outputs.image": ("env://1", "env://2")}
    assert told["steps"]["train"]["changes"] == {
        "image": ("env://1", "env://2"),
        "inputs.who": ("you", "me"),
        "env.A": ("1", "2"),
        "env.B": (None, "3"),
        "outputs.model": ("m1", "m2"),
    }


def test_a_failure_and_what_was_taken_over():
    failed = {"status": RunStatus.FAILED, "error": {"what": "No luck."}, "outputs": {}}
    told = difference(found(), found("run-b", cached="run-a", **failed))
    assert told["steps"]["train"]["changes"] == {
        "status": ("succeeded", "failed"),
        "cached": (None, "run-a"),
        "error": (None, "No luck."),
        "outputs.model": ("m1", None),
    }


def test_how_many_elements_there_were():
    counts = [{"elements": {"total": total, "ended": total, "failed": 0}} for total in (3, 2)]
    told = difference(found(**counts[0]), found("run-b", **counts[1]))
    assert told["steps"]["train"]["changes"] == {"elements.total": (3, 2)}
    assert difference(found(), found(**counts[1]))["steps"]["train"]["changes"] == {
        "elements.total": (None, 2),
        "elements.failed": (None, 0),
    }


def test_a_step_that_only_one_has():
    other = replace(SPEC, steps=(STEPS[0], StepSpec("score", run="score")))
    told = difference(found(), (replace(found()[0], workflow=other), found()[1]))
    assert set(told["steps"]) == {"build", "train", "score"}
    assert told["steps"]["score"]["changes"]["run"] == (None, "score")
    assert told["steps"]["train"]["changes"]["run"] == ("train", None)


def test_outputs_that_are_not_known_are_left_out():
    assert outputs_of(*found()) == {"model": "m1"}
    run, state = found()
    assert outputs_of(run, replace(state, steps=state.steps[:1])) == {}
