"""What a `RunEngine` does with steps that have `cache`, and with runs that are forgotten;
see `engine_contract` for the fixture that these tests take. Its function is given one option
more, `reuse`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from volant.domain.run import RunStatus, StepRequest
from volant.domain.step_key import step_key
from volant.errors import Conflict, StepFailed
from volant.ports.step_cache import CachedStep
from volant.testing.engine_contract import (
    PATIENCE_S,
    OpenEngine,
    Outputs,
    Runs,
    ScriptedExecutor,
    await_state,
    await_true,
    by_name,
    refused,
    statuses,
    step,
)


class Kept:
    """`Reuse` in a dictionary. `refuses` are steps whose outputs don't hold."""

    def __init__(self) -> None:
        self.steps: dict[str, CachedStep] = {}
        self.refuses: set[str] = set()

    def key(self, request: StepRequest) -> str | None:
        return step_key(request, "", lambda project, name, version: version)

    def find(self, key: str, request: StepRequest) -> CachedStep | None:
        if request.step.uses in self.refuses:
            self.steps.pop(key, None)
        return self.steps.get(key)

    def keep(
        self, key: str, request: StepRequest, outputs: Mapping[str, Any], *, anew: bool
    ) -> None:
        now = datetime.now(UTC)
        entry = CachedStep(key, outputs, request.run_id, request.step.name, now, now)
        if anew:
            self.steps[key] = entry
        self.steps.setdefault(key, entry)


class CacheContract:
    """Tests of a `RunEngine`'s steps that take outputs over, and of forgetting runs."""

    def test_a_step_that_was_done_is_not_done_again(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor(a=lambda request: {"of": request.run_id})
        executor.commits["a"] = lambda request, outputs: {**outputs, "stored": True}
        engine = open_engine(executor, runs.__getitem__, reuse=Kept())
        steps = (
            step("a", cache=True, inputs={"n": "{{ inputs.n }}"}),
            step("b", cache=True, inputs={"x": "{{ steps.a.outputs.of }}"}),
            step("c", "b"),
        )
        for run_id, n in (("run-1", 1), ("run-2", 1), ("run-3", 2)):
            engine.start(runs.make(run_id, *steps, inputs={"n": n}))
            state = await_state(engine, run_id)
            assert state.status is RunStatus.SUCCEEDED
            found = by_name(state)
            source = "run-1" if run_id == "run-2" else None
            assert [found[name].cached for name in "abc"] == [source, source, None]
            assert found["a"].outputs == {"of": source or run_id, "stored": True}
        done = [(request.run_id, request.step.name) for request in executor.requests]
        assert [name for run_id, name in done if run_id == "run-2"] == ["c"]
        assert executor.committed.count("a") == 2

    def test_failures_are_not_taken_over(self, open_engine: OpenEngine) -> None:
        runs, kept = Runs(), Kept()

        def fail(request: StepRequest) -> Outputs:
            raise StepFailed("no luck", "Have some.")

        executor = ScriptedExecutor(a=fail)
        executor.commits["b"] = lambda request, outputs: fail(request)
        engine = open_engine(executor, runs.__getitem__, reuse=kept)
        for run_id in ("run-1", "run-2"):
            engine.start(runs.make(run_id, step("a", cache=True), step("b", cache=True)))
            assert statuses(await_state(engine, run_id)) == ["failed", "failed"]
        assert kept.steps == {}
        assert executor.performed.count("a") == executor.performed.count("b") == 2

    def test_outputs_that_do_not_hold_are_made_again(self, open_engine: OpenEngine) -> None:
        runs, kept = Runs(), Kept()
        executor = ScriptedExecutor(a=lambda request: {"of": request.run_id})
        engine = open_engine(executor, runs.__getitem__, reuse=kept)
        outputs: list[Any] = []
        for run_id in ("run-1", "run-2", "run-3"):
            kept.refuses = {"a"} if run_id == "run-2" else set()
            engine.start(runs.make(run_id, step("a", cache=True)))
            outputs.append(by_name(await_state(engine, run_id))["a"].outputs["of"])
        assert outputs == ["run-1", "run-2", "run-2"]

    def test_the_first_of_two_at_once_is_kept(self, open_engine: OpenEngine) -> None:
        runs, meeting = Runs(), threading.Barrier(2, timeout=PATIENCE_S)

        def meet(request: StepRequest) -> Outputs:
            meeting.wait()
            return {"of": request.run_id}

        engine = open_engine(ScriptedExecutor(a=meet), runs.__getitem__, reuse=Kept())
        for run_id in ("run-1", "run-2"):
            engine.start(runs.make(run_id, step("a", cache=True)))
        for run_id in ("run-1", "run-2"):
            a = by_name(await_state(engine, run_id))["a"]
            assert (a.outputs, a.cached) == ({"of": run_id}, None)
        engine.start(runs.make("run-3", step("a", cache=True)))
        a = by_name(await_state(engine, "run-3"))["a"]
        assert a.outputs == {"of": a.cached}

    def test_what_is_done_again_on_purpose_takes_nothing_over(
        self, open_engine: OpenEngine
    ) -> None:
        runs = Runs()
        executor = ScriptedExecutor(b=lambda request: {"of": request.run_id})
        engine = open_engine(executor, runs.__getitem__, reuse=Kept())
        steps = (step("a", cache=True), step("b", "a", cache=True), step("c", "b", cache=True))
        first = runs.make("run-1", *steps)
        engine.start(first)
        await_state(engine, "run-1")
        runs["run-2"] = replace(first, id="run-2", retry_of="run-1", from_step="b")
        engine.start(runs["run-2"])
        found = by_name(await_state(engine, "run-2"))
        assert [found[name].cached for name in "abc"] == ["run-1", None, None]
        assert found["b"].outputs == {"of": "run-2"}
        engine.start(runs.make("run-3", *steps))
        assert by_name(await_state(engine, "run-3"))["b"].cached == "run-2"

    def test_elements_are_taken_over_each(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        engine = open_engine(executor, runs.__getitem__, reuse=Kept())
        each = step("each", foreach="{{ inputs.items }}", inputs={"x": "{{ item }}"}, cache=True)
        for run_id, items, source in (
            ("run-1", [1, 2], None),
            ("run-2", [2, 1], "run-1"),
            ("run-3", [1, 3, 2], None),
        ):
            engine.start(runs.make(run_id, each, inputs={"items": items}))
            found = by_name(await_state(engine, run_id))["each"]
            assert (found.outputs, found.cached) == ({"x": items}, source)
        assert [request.run_id for request in executor.requests] == ["run-1", "run-1", "run-3"]

    def test_runs_that_have_ended_can_be_forgotten(self, open_engine: OpenEngine) -> None:
        runs, go = Runs(), threading.Event()

        def wait(request: StepRequest) -> Outputs:
            go.wait(PATIENCE_S)
            return {}

        executor = ScriptedExecutor(c=wait)
        engine = open_engine(executor, runs.__getitem__)
        each = step("each", foreach="[1, 2]")
        engine.start(runs.make("run-1", step("a"), each))
        engine.start(runs.make("run-2", step("b")))
        engine.start(runs.make("run-3", step("c")))
        await_true(lambda: "c" in executor.performed)
        for run_id in ("run-1", "run-2"):
            await_state(engine, run_id)
        with refused(Conflict):
            engine.forget(["run-1", "run-3"])
        assert len(engine.states(list(runs))) == 3
        engine.forget(["run-1", "run-9"])
        assert list(engine.states(list(runs))) == ["run-2", "run-3"]
        go.set()
        assert await_state(engine, "run-3").status is RunStatus.SUCCEEDED
        engine.start(runs["run-1"])  # nothing of it is left: all is done again
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
        assert executor.performed.count("each/1") == 2
