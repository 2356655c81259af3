"""How a run is shown: its steps, their elements, and what it gave."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from volant.cli import watch
from volant.domain.run import Run, RunState, RunStatus, StepState
from volant.domain.workflow import StepSpec, WorkflowSpec

NOW = datetime.now(UTC)
STEPS = (
    StepSpec("list", run="list"),
    StepSpec("fit-each-of-them", run="fit", foreach="steps.list.outputs.all", needs=("list",)),
)
OUTPUTS = {"text": "two words", "flag": True, "none": None, "list": [1, "x", {"a": False}]}
RUN = Run(
    "run-1",
    WorkflowSpec(
        "each", STEPS, OUTPUTS, outputs={name: f"{{{{ inputs.{name} }}}}" for name in OUTPUTS}
    ),
    NOW,
)
ERROR = {"what": "Element fit-each-of-them/4: No luck.", "fix": "Have some.", "details": {}}


def state(status, elements=None, error=None, run=None):
    began = None if status is RunStatus.QUEUED else NOW
    ended = None if status in (RunStatus.QUEUED, RunStatus.RUNNING) else NOW + timedelta(seconds=2)
    done = StepState("list", RunStatus.SUCCEEDED, 1, NOW, NOW)
    each = StepState("fit-each-of-them", status, 1, began, ended, error=error, elements=elements)
    return RUN, RunState("run-1", run or status, (done, each), NOW, ended, error)


def counts(ended, total=10, **more):
    return {"total": total, "ended": ended, **more}


@pytest.fixture
def told(platform, volant, monkeypatch):
    """What a command prints when the run stands as given, one after the other."""
    monkeypatch.setattr(watch, "POLL_S", 0.0)

    def call(states, *words):
        left = iter(states)
        last = states[-1]
        monkeypatch.setattr(platform.runs, "get", lambda run_id: next(left, last))
        monkeypatch.setattr(platform.runs, "page", lambda *_, **__: ([last], None))
        return volant("runs", *words)

    return call


STANDS = (
    (state(RunStatus.RUNNING), "", "fit-each-of-them"),
    (
        state(RunStatus.RUNNING, counts(7, running=2)),
        "  7 of 10 elements, 2 at work",
        "fit-each-of-them 7/10",
    ),
    (
        state(RunStatus.RUNNING, counts(7, running=0)),
        "  7 of 10 elements",
        "fit-each-of-them 7/10",
    ),
    (state(RunStatus.SUCCEEDED, counts(10, failed=0)), "  10 elements", "-"),
    (state(RunStatus.SUCCEEDED, counts(1, 1, failed=0)), "  1 element", "-"),
    (state(RunStatus.SUCCEEDED, counts(0, 0, failed=0)), "  0 elements", "-"),
    (
        state(RunStatus.FAILED, counts(10, failed=1), ERROR),
        f"  1 of 10 elements failed: {ERROR['what']}",
        "fit-each-of-them 9/10",
    ),
    (
        state(
            RunStatus.FAILED,
            counts(10, failed=3),
            {**ERROR, "what": "3 of 10 elements failed, first fit/1: No luck."},
        ),
        "  3 of 10 elements failed, first fit/1: No luck.",
        "fit-each-of-them 7/10",
    ),
    (state(RunStatus.CANCELLED), "", "-"),
)


def test_how_far_a_step_is_with_its_elements(told):
    for now, shown, listed in STANDS:
        step = told([now], "show", "run-1").out.splitlines()[2]
        assert step.split(now[1].steps[1].status.value)[0].endswith(" fit-each-of-them ")
        assert step.endswith(f"s{shown}")
        assert re.split(" {2,}", told([now]).out.splitlines()[1])[3] == listed
        found = told([now], "show", "run-1", "--json").json["state"]["steps"][1]["elements"]
        assert found == now[1].steps[1].elements


def test_a_step_at_work_failed_of_nothing(told):
    """What the attempt before ended of stands in its line; there is nothing to mend."""
    lost = {"what": "Step fit was lost.", "fix": "A run starts it again.", "details": {}}
    run, now = state(RunStatus.RUNNING, error=lost)
    shown = told([(run, replace(now, error=None))], "show", "run-1")
    assert "Step fit was lost." in shown.out
    assert "Error" not in shown.err
    assert "Fix" not in shown.err
    failed = told([state(RunStatus.FAILED, error=lost)], "show", "run-1")
    assert failed.err.startswith("Error: Step fit was lost.\nFix: A run starts it again.")


def test_elements_are_told_as_they_end_but_not_each_of_many(told):
    views = [state(RunStatus.QUEUED, run=RunStatus.RUNNING), state(RunStatus.RUNNING)]
    views += [state(RunStatus.RUNNING, counts(n, 100, running=2)) for n in range(100)]
    views += [state(RunStatus.SUCCEEDED, counts(100, 100, failed=0))]
    done = told(views, "show", "run-1", "--watch")
    lines = done.out.splitlines()
    assert done.code == 0
    assert len(lines) == 1 + 1 + 9 + 1 + 1 + len(OUTPUTS)
    assert lines[2].endswith("10 of 100 elements, 2 at work")
    assert lines[-6].endswith("100 elements")
    # The states stand below one another, whatever the names' length.
    assert (
        len({line.index("succeeded" if "succ" in line else "running") for line in lines[:9]}) == 1
    )


def test_outputs_are_told_in_json_s_words_and_texts_bare(told):
    done = told([state(RunStatus.SUCCEEDED, counts(10, failed=0))], "show", "run-1")
    assert done.out.splitlines()[-4:] == [
        "text = two words",
        "flag = true",
        "none = null",
        'list = [1, "x", {"a": false}]',
    ]


def test_what_differs_is_told_in_json_s_words(platform, volant, monkeypatch):
    pair = {"a": "run-1", "b": "run-2", "workflow": {}, "inputs": {}, "steps": {}}
    outputs = {"flag": [True, False], "list": [["x"], None]}
    monkeypatch.setattr("volant.web.api.runs.difference", lambda a, b: {**pair, "outputs": outputs})
    platform.runs.add("run-1")
    platform.runs.add("run-2")
    rows = [line.split() for line in volant("runs", "diff", "run-1", "run-2").out.splitlines()]
    assert rows[4:6] == [["outputs.flag", "true", "false"], ["outputs.list", '["x"]', "-"]]


def test_lines_of_elements_are_told_apart(platform, volant, monkeypatch):
    platform.runs.add("run-1")
    names = ["list", "fit-each-of-them/0", "fit-each-of-them/12", "list"]

    def logs(run_id, step, after):
        lines = [
            {"step": name, "time": NOW.isoformat(), "stream": "stdout", "text": f"line {number}"}
            for number, name in enumerate(names)
            if step is None or name == step or name.startswith(f"{step}/")
        ]
        torn = {"step": names[0], "time": None, "stream": "stdout", "text": '{"ti'}
        return {"lines": [] if after else [*lines, torn], "after": "1", "done": bool(after)}

    monkeypatch.setattr(platform.runs, "logs", logs)
    assert volant("logs", "run-1").out.splitlines()[:4] == [
        "list       | line 0",
        "fit-each-of-them/0 | line 1",
        "fit-each-of-them/12 | line 2",
        "list                | line 3",
    ]
    of_step = volant("logs", "run-1", "--step", "fit-each-of-them").out.splitlines()
    assert of_step[:2] == ["fit-each-of-them/0 | line 1", "fit-each-of-them/12 | line 2"]
    one = volant("logs", "run-1", "--step", "list", "-t").out.splitlines()
    assert [line[20:] for line in one] == ["line 0", "line 3", '{"ti']
    found = volant("logs", "run-1", "-f", "--json").json["lines"]
    assert [line["step"] for line in found] == [*names, "list"]
    assert found[-1]["time"] is None
