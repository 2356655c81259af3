"""What every `RunEngine` must do, as a test class that engines' authors run.

Subclass `EngineContract` in a test module and give it a fixture `open_engine` that
returns a function `(executor, load_run, *, workers=4, on_cancel=…) -> RunEngine`. It
launches a new engine on the database of the test, the same one each time; the suite
closes one before it opens the next, and the fixture closes what is left open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from volant.domain.run import TERMINAL, Run, RunState, RunStatus, StepRequest, StepState
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed, VolantError
from volant.ports.engine import RunEngine

Outputs = Mapping[str, Any]
Perform = Callable[[StepRequest], Outputs]
OpenEngine = Callable[..., RunEngine]

PATIENCE_S = 30.0
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class ScriptedExecutor:
    """A `StepExecutor` whose steps do what a test says; steps without a script return
    their inputs. `performed` and `committed` list the steps in the order of the calls."""

    def __init__(self, **scripts: Perform) -> None:
        self.scripts = scripts
        self.commits: dict[str, Callable[[StepRequest, Outputs], Outputs]] = {}
        self.performed: list[str] = []
        self.committed: list[str] = []
        self.requests: list[StepRequest] = []

    def perform(self, request: StepRequest) -> Outputs:
        self.performed.append(request.step.name)
        self.requests.append(request)
        script = self.scripts.get(request.step.name)
        return dict(request.inputs) if script is None else script(request)

    def commit(self, request: StepRequest, outputs: Outputs) -> Outputs:
        commit = self.commits.get(request.step.name)
        final = outputs if commit is None else commit(request, outputs)
        self.committed.append(request.step.name)
        return final


class Runs(dict[str, Run]):
    """Runs by id, made in the order of their times."""

    def make(self, run_id: str, *steps: StepSpec, **facts: Any) -> Run:
        workflow = WorkflowSpec("contract", steps, facts.pop("inputs", {}))
        at = EPOCH + timedelta(seconds=len(self))
        self[run_id] = Run(run_id, workflow, at, **facts)
        return self[run_id]


def step(name: str, *needs: str, **more: Any) -> StepSpec:
    """A step that is performed by the executor's script of its name."""
    return StepSpec(name, uses=name, needs=needs, **more)


def await_state(engine: RunEngine, run_id: str, *wanted: RunStatus) -> RunState:
    """The run's state once it is `wanted` (one that is final, by default)."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state = engine.states([run_id]).get(run_id)
        if state is not None and state.status in (wanted or TERMINAL):
            return state
        if time.monotonic() > deadline:
            raise AssertionError(f"run {run_id} didn't become {wanted or 'final'}: {state}")
        time.sleep(0.005)


def await_true(condition: Callable[[], Any]) -> None:
    """Until `condition()` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.005)


@contextmanager
def refused(kind: type[VolantError]) -> Any:
    """The block raises a `kind`, with something to do about it."""
    caught: VolantError | None = None
    try:
        yield
    except kind as error:
        caught = error
    assert caught is not None, f"{kind.__name__} wasn't raised"
    assert caught.what
    assert caught.fix


def by_name(state: RunState) -> Mapping[str, StepState]:
    """A run's steps by name."""
    return {entry.name: entry for entry in state.steps}


def statuses(state: RunState) -> Sequence[str]:
    """The steps' states in the order of the workflow."""
    return [entry.status.value for entry in state.steps]


class EngineContract:
    """Tests of a `RunEngine`; see the module's text for the fixture they take."""

    def test_a_step_is_performed_and_committed(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        executor.commits["a"] = lambda request, outputs: {**outputs, "stored": True}
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a", inputs={"x": 1}), loop="wine"))
        state = await_state(engine, "run-1")
        assert state.status is RunStatus.SUCCEEDED
        a = by_name(state)["a"]
        assert (a.status, a.attempt, a.outputs) == (
            RunStatus.SUCCEEDED,
            1,
            {"x": 1, "stored": True},
        )
        assert a.started_at is not None
        assert a.ended_at is not None
        assert state.ended_at is not None
        assert a.started_at <= a.ended_at <= state.ended_at
        request = executor.requests[0]
        assert (request.run_id, request.attempt, request.loop) == ("run-1", 1, "wine")
        assert request.workdir.is_dir()
        assert (executor.performed, executor.committed) == (["a"], ["a"])

    def test_outputs_flow_into_inputs_and_keep_their_type(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        executor = ScriptedExecutor(a=lambda request: {"rows": [1, {"deep": 2.5}], "n": None})
        engine = open_engine(executor, runs.__getitem__)
        inputs = {
            "rows": "{{ steps.a.outputs.rows }}",
            "text": "n={{ steps.a.outputs.rows.1.deep }} {{ inputs.who }}",
            "none": "{{ steps.a.outputs.n }}",
        }
        engine.start(runs.make("run-1", step("b", inputs=inputs), step("a"), inputs={"who": "you"}))
        outputs = by_name(await_state(engine, "run-1"))["b"].outputs
        assert outputs == {"rows": [1, {"deep": 2.5}], "text": "n=2.5 you", "none": None}

    def test_ready_steps_run_at_the_same_time(self, open_engine: OpenEngine) -> None:
        runs, meeting = Runs(), threading.Barrier(2, timeout=PATIENCE_S)

        def meet(request: StepRequest) -> Outputs:
            meeting.wait()
            return {}

        engine = open_engine(ScriptedExecutor(a=meet, b=meet), runs.__getitem__)
        engine.start(runs.make("run-1", step("a"), step("b"), step("c", "a", "b")))
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED

    def test_no_more_steps_than_workers_are_at_work(self, open_engine: OpenEngine) -> None:
        runs, lock, counts = Runs(), threading.Lock(), [0, 0]

        def count(request: StepRequest) -> Outputs:
            with lock:
                counts[0] += 1
                counts[1] = max(counts)
            time.sleep(0.01)
            with lock:
                counts[0] -= 1
            return {}

        names = [f"s{index}" for index in range(8)]
        executor = ScriptedExecutor(**dict.fromkeys(names, count))
        engine = open_engine(executor, runs.__getitem__, workers=2)
        for number in range(2):
            engine.start(runs.make(f"run-{number}", *map(step, names)))
        for number in range(2):
            assert await_state(engine, f"run-{number}").status is RunStatus.SUCCEEDED
        assert counts == [0, 2]

    def test_a_failing_step_is_retried(self, open_engine: OpenEngine) -> None:
        runs = Runs()

        def third_time(request: StepRequest) -> Outputs:
            if request.attempt < 3:
                raise StepFailed(f"attempt {request.attempt}", "Try again.")
            return {"attempt": request.attempt}

        engine = open_engine(ScriptedExecutor(a=third_time), runs.__getitem__)
        engine.start(runs.make("run-1", step("a", retries=2, backoff_s=0.01)))
        a = by_name(await_state(engine, "run-1"))["a"]
        assert (a.status, a.attempt, a.outputs) == (RunStatus.SUCCEEDED, 3, {"attempt": 3})

    def test_attempts_are_seen_while_they_are_made(self, open_engine: OpenEngine) -> None:
        runs, go = Runs(), threading.Event()

        def second_waits(request: StepRequest) -> Outputs:
            if request.attempt == 1:
                raise StepFailed("the first failed", "Try again.")
            go.wait(PATIENCE_S)
            return {}

        executor = ScriptedExecutor(a=second_waits)
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a", retries=1, backoff_s=0), step("b", "a")))
        await_true(lambda: len(executor.performed) == 2)
        state = engine.states(["run-1"])["run-1"]
        a = by_name(state)["a"]
        assert (a.status, a.attempt) == (RunStatus.RUNNING, 2)
        assert a.error is not None
        assert a.error["what"] == "the first failed"
        assert statuses(state) == ["running", "queued"]
        go.set()
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED

    def test_a_failure_ends_what_needs_it_and_nothing_else(self, open_engine: OpenEngine) -> None:
        runs = Runs()

        def fail(request: StepRequest) -> Outputs:
            raise StepFailed("no luck", "Have some.", details={"exit_code": 3})

        engine = open_engine(ScriptedExecutor(bad=fail), runs.__getitem__)
        engine.start(
            runs.make("run-1", step("bad"), step("after", "bad"), step("good"), step("end", "good"))
        )
        state = await_state(engine, "run-1")
        assert state.status is RunStatus.FAILED
        assert statuses(state) == ["failed", "skipped", "succeeded", "succeeded"]
        for error in (state.error, by_name(state)["bad"].error):
            assert error is not None
            assert (error["kind"], error["what"]) == ("step_failed", "no luck")
            assert error["details"]["exit_code"] == 3

    def test_an_unexpected_exception_is_a_failed_step(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        executor = ScriptedExecutor(a=lambda request: {"x": {}["missing"]})
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a")))
        error = await_state(engine, "run-1").error
        assert error is not None
        assert error["kind"] == "step_failed"
        assert error["what"] == "KeyError: 'missing'"
        assert "Traceback" in error["details"]["traceback"]

    def test_losses_are_retried_without_counting(self, open_engine: OpenEngine) -> None:
        runs = Runs()

        def lost_twice(request: StepRequest) -> Outputs:
            if request.attempt < 3:
                raise StepFailed("the machine went away", "Wait.", details={"lost": True})
            return {}

        engine = open_engine(ScriptedExecutor(a=lost_twice), runs.__getitem__)
        engine.start(runs.make("run-1", step("a", retries=0)))
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED

    def test_invalid_input_is_not_tried_twice(self, open_engine: OpenEngine) -> None:
        runs = Runs()

        def refuse(request: StepRequest) -> Outputs:
            raise InvalidInput("no column 'y'", "Name one that is there.")

        executor = ScriptedExecutor(a=refuse)
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a", retries=5, backoff_s=0)))
        assert await_state(engine, "run-1").status is RunStatus.FAILED
        assert executor.performed == ["a"]

    def test_outputs_that_are_not_json_fail_the_step(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        executor = ScriptedExecutor(a=lambda request: {"x": object()})
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a")))
        error = await_state(engine, "run-1").error
        assert error is not None
        assert error["kind"] == "invalid_input"

    def test_an_unwanted_step_is_skipped_with_what_needs_it(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        executor = ScriptedExecutor(gate=lambda request: {"passed": False})
        engine = open_engine(executor, runs.__getitem__)
        when = "steps.gate.outputs.passed"
        steps = (step("gate"), step("deploy", when=when), step("tell", "deploy"), step("log"))
        engine.start(runs.make("run-1", *steps, step("else", when=f"not {when}")))
        state = await_state(engine, "run-1")
        assert state.status is RunStatus.SUCCEEDED
        assert statuses(state) == ["succeeded", "skipped", "skipped", "succeeded", "succeeded"]

    def test_a_step_that_only_comes_after_a_skipped_one_is_done(
        self, open_engine: OpenEngine
    ) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        engine = open_engine(executor, runs.__getitem__)
        unwanted = step("a", when="inputs.go")
        rest = (step("b", after=("a",)), step("c", "a"), step("d", after=("b", "c")))
        engine.start(runs.make("run-1", unwanted, *rest, inputs={"go": False}))
        state = await_state(engine, "run-1")
        assert statuses(state) == ["skipped", "succeeded", "skipped", "succeeded"]
        assert executor.performed == ["b", "d"]

    def test_a_missing_output_names_the_nearest(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        executor = ScriptedExecutor(a=lambda request: {"train_path": "/x"})
        engine = open_engine(executor, runs.__getitem__)
        engine.start(
            runs.make(
                "run-1", step("a"), step("b", inputs={"p": "{{ steps.a.outputs.trainpath }}"})
            )
        )
        state = await_state(engine, "run-1")
        assert statuses(state) == ["succeeded", "failed"]
        assert state.error is not None
        assert "train_path" in state.error["fix"]

    def test_starting_twice_runs_once(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        engine = open_engine(executor, runs.__getitem__)
        run = runs.make("run-1", step("a"))
        engine.start(run)
        engine.start(run)
        await_state(engine, "run-1")
        engine.start(run)
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
        assert executor.performed == ["a"]

    def test_a_workflow_that_cannot_run_is_refused(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        engine = open_engine(ScriptedExecutor(), runs.__getitem__)
        with refused(InvalidInput):
            engine.start(runs.make("run-1", step("a", "b"), step("b", "a")))
        assert engine.states(["run-1"]) == {}

    def test_runs_of_one_key_take_turns(self, open_engine: OpenEngine) -> None:
        runs, go, lock, at_once = Runs(), threading.Event(), threading.Lock(), [0, 0]

        def alone(request: StepRequest) -> Outputs:
            with lock:
                at_once[0] += 1
                at_once[1] = max(at_once)
            go.wait(PATIENCE_S)
            with lock:
                at_once[0] -= 1
            return {}

        executor = ScriptedExecutor(a=alone)
        engine = open_engine(executor, runs.__getitem__)
        for number in range(4):
            engine.start(runs.make(f"run-{number}", step("a"), queue_key="loop/wine"))
        await_true(lambda: executor.performed)
        engine.start(runs.make("run-other", step("b"), queue_key="loop/beer"))
        assert await_state(engine, "run-other").status is RunStatus.SUCCEEDED
        waiting = engine.states(["run-1", "run-2", "run-3"])
        assert [state.status for state in waiting.values()] == [RunStatus.QUEUED] * 3
        go.set()
        for number in range(4):
            assert await_state(engine, f"run-{number}").status is RunStatus.SUCCEEDED
        in_turn = [request.run_id for request in executor.requests if request.step.name == "a"]
        assert in_turn == [f"run-{number}" for number in range(4)]
        assert at_once == [0, 1]

    def test_cancel_stops_a_run_and_resume_goes_on(self, open_engine: OpenEngine) -> None:
        runs, ended, told = Runs(), threading.Event(), list[str]()

        def wait(request: StepRequest) -> Outputs:
            if len(told) == 0:
                ended.wait(PATIENCE_S)
                raise StepFailed("terminated", "Nothing.", details={"status": "cancelled"})
            return {"done": True}

        def on_cancel(run_id: str) -> None:
            told.append(run_id)
            ended.set()

        executor = ScriptedExecutor(b=wait)
        engine = open_engine(executor, runs.__getitem__, on_cancel=on_cancel)
        engine.start(runs.make("run-1", step("a"), step("b", "a"), step("c", "b")))
        await_true(lambda: "b" in executor.performed)
        engine.cancel("run-1")
        assert told[0] == "run-1"
        state = await_state(engine, "run-1")
        assert state.status is RunStatus.CANCELLED
        assert statuses(state) == ["succeeded", "cancelled", "cancelled"]
        with refused(Conflict):
            engine.cancel("run-1")
        engine.resume("run-1")
        state = await_state(engine, "run-1", RunStatus.SUCCEEDED)
        assert statuses(state) == ["succeeded"] * 3
        assert executor.performed == ["a", "b", "b", "c"]
        assert executor.committed == ["a", "b", "c"]
        with refused(Conflict):
            engine.resume("run-1")

    def test_a_queued_run_can_be_cancelled(self, open_engine: OpenEngine) -> None:
        runs, go = Runs(), threading.Event()

        def wait(request: StepRequest) -> Outputs:
            go.wait(PATIENCE_S)
            return {}

        executor = ScriptedExecutor(a=wait)
        engine = open_engine(executor, runs.__getitem__)
        for number in range(3):
            engine.start(runs.make(f"run-{number}", step("a"), queue_key="k"))
        engine.cancel("run-1")
        go.set()
        assert await_state(engine, "run-2").status is RunStatus.SUCCEEDED
        assert await_state(engine, "run-1").status is RunStatus.CANCELLED
        assert [request.run_id for request in executor.requests] == ["run-0", "run-2"]

    def test_resume_does_what_failed_and_what_waited(self, open_engine: OpenEngine) -> None:
        runs, broken = Runs(), [True]

        def mended(request: StepRequest) -> Outputs:
            if broken[0]:
                raise StepFailed("not yet", "Mend it.")
            return {"ok": 1}

        executor = ScriptedExecutor(b=mended)
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a"), step("b", "a"), step("c", "b"), queue_key="k"))
        assert await_state(engine, "run-1").status is RunStatus.FAILED
        broken[0] = False
        engine.resume("run-1")
        state = await_state(engine, "run-1", RunStatus.SUCCEEDED)
        assert executor.performed == ["a", "b", "b", "c"]
        assert state.error is None

    def test_resume_keeps_work_whose_commit_failed(self, open_engine: OpenEngine) -> None:
        runs, full = Runs(), [True]

        def commit(request: StepRequest, outputs: Outputs) -> Outputs:
            if full[0]:
                raise StepFailed("the disk is full", "Free some space.")
            return outputs

        executor = ScriptedExecutor()
        executor.commits["a"] = commit
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a", inputs={"x": 1})))
        assert await_state(engine, "run-1").status is RunStatus.FAILED
        full[0] = False
        engine.resume("run-1")
        state = await_state(engine, "run-1", RunStatus.SUCCEEDED)
        assert by_name(state)["a"].outputs == {"x": 1}
        assert executor.performed == ["a"]

    def test_a_retry_takes_over_what_is_not_done_again(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor(a=lambda request: {"from": request.run_id})
        engine = open_engine(executor, runs.__getitem__)
        given = {"x": "{{ steps.a.outputs.from }}"}
        steps = (step("a"), step("b", inputs=given), step("c", "b"), step("d"))
        first = runs.make("run-1", *steps)
        engine.start(first)
        await_state(engine, "run-1")
        runs["run-2"] = replace(first, id="run-2", retry_of="run-1", from_step="b")
        engine.start(runs["run-2"])
        state = await_state(engine, "run-2")
        assert state.status is RunStatus.SUCCEEDED
        assert by_name(state)["b"].outputs == {"x": "run-1"}
        again = [request.step.name for request in executor.requests if request.run_id == "run-2"]
        assert again == ["b", "c"]

    def test_unknown_runs_are_not_found(self, open_engine: OpenEngine) -> None:
        engine = open_engine(ScriptedExecutor(), Runs().__getitem__)
        assert engine.states(["run-9"]) == {}
        for verb in (engine.cancel, engine.resume):
            with refused(NotFound):
                verb("run-9")

    def test_work_goes_on_after_a_close(self, open_engine: OpenEngine) -> None:
        runs, closed = Runs(), threading.Event()

        def interrupted(request: StepRequest) -> Outputs:
            if not closed.is_set():
                closed.wait(PATIENCE_S)
                raise StepFailed("terminated", "The platform went down.")
            return {"n": 2}

        executor = ScriptedExecutor(b=interrupted)
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("a"), step("b", "a"), step("c", "b"), queue_key="k"))
        engine.start(runs.make("run-2", step("d"), queue_key="k"))
        await_true(lambda: "b" in executor.performed)
        engine.close()
        closed.set()
        engine = open_engine(executor, runs.__getitem__)
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
        assert await_state(engine, "run-2").status is RunStatus.SUCCEEDED
        assert executor.performed.count("a") == 1
        assert executor.committed == ["a", "b", "c", "d"]
