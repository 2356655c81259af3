"""What a `RunEngine` does with steps that have `foreach`; see `engine_contract` for the
fixture that these tests take."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from volant.domain.run import RunStatus, StepRequest
from volant.errors import StepFailed
from volant.ports.engine import RunEngine
from volant.testing.engine_contract import (
    PATIENCE_S,
    OpenEngine,
    Outputs,
    Runs,
    ScriptedExecutor,
    await_state,
    await_true,
    by_name,
    statuses,
    step,
)

ITEM = {"x": "{{ item }}"}


def await_elements(engine: RunEngine, wanted: Mapping[str, int]) -> None:
    """Until the elements of run-1's first step, which runs, stand so. A slot is free again
    before the element that had it has ended."""

    def stand_so() -> bool:
        now = engine.states(["run-1"])["run-1"].steps[0]
        assert now.status is RunStatus.RUNNING
        return now.elements == wanted

    await_true(stand_so)


class ForeachContract:
    """Tests of a `RunEngine`'s steps that are done for each element of a list."""

    def test_each_element_is_done_with_its_item(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor(a=lambda request: {"files": ["p", "q", "r"]})
        executor.commits["each/1"] = lambda request, outputs: {**outputs, "stored": True}
        engine = open_engine(executor, runs.__getitem__)
        each = step("each", foreach="{{ steps.a.outputs.files }}", inputs={"file": "{{ item }}"})
        after = step("b", inputs={"all": "{{ steps.each.outputs.file }}"})
        engine.start(runs.make("run-1", step("a"), each, after))
        state = await_state(engine, "run-1")
        assert state.status is RunStatus.SUCCEEDED
        found = by_name(state)["each"]
        assert found.outputs == {"file": ["p", "q", "r"], "stored": [None, True, None]}
        assert found.elements == {"total": 3, "ended": 3, "failed": 0}
        assert by_name(state)["b"].outputs == {"all": ["p", "q", "r"]}
        names = ["each/0", "each/1", "each/2"]
        assert sorted(executor.performed) == ["a", "b", *names]
        assert sorted(executor.committed) == ["a", "b", *names]
        folders = {request.workdir for request in executor.requests}
        assert len(folders) == 5
        assert all(folder.is_dir() for folder in folders)

    def test_items_keep_their_type(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        engine = open_engine(ScriptedExecutor(), runs.__getitem__)
        items = [1, 2.5, None, {"deep": [True]}, "text"]
        each = step("each", foreach="{{ inputs.items }}", inputs=ITEM)
        engine.start(runs.make("run-1", each, inputs={"items": items}))
        assert by_name(await_state(engine, "run-1"))["each"].outputs == {"x": items}

    def test_elements_work_side_by_side_within_the_slots(self, open_engine: OpenEngine) -> None:
        runs, meeting, counts = Runs(), threading.Barrier(3, timeout=PATIENCE_S), [0, 0]
        lock = threading.Lock()

        def meet(request: StepRequest) -> Outputs:
            with lock:
                counts[0] += 1
                counts[1] = max(counts)
            meeting.wait()
            with lock:
                counts[0] -= 1
            meeting.wait()
            return {}

        executor = ScriptedExecutor(**{f"each/{index}": meet for index in range(6)})
        engine = open_engine(executor, runs.__getitem__, workers=3)
        engine.start(runs.make("run-1", step("each", foreach="[1, 2, 3, 4, 5, 6]")))
        assert await_state(engine, "run-1").status is RunStatus.SUCCEEDED
        assert counts == [0, 3]

    def test_one_slot_is_enough(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        engine = open_engine(ScriptedExecutor(), runs.__getitem__, workers=1)
        each = step("each", foreach="[1, 2, 3]", inputs=ITEM)
        other = step("other", foreach="[4, 5]", inputs=ITEM)
        engine.start(runs.make("run-1", each, other))
        state = await_state(engine, "run-1")
        assert by_name(state)["each"].outputs == {"x": [1, 2, 3]}
        assert by_name(state)["other"].outputs == {"x": [4, 5]}

    def test_it_begins_when_its_first_element_does(self, open_engine: OpenEngine) -> None:
        runs, looked = Runs(), threading.Event()
        ended: list[datetime] = []

        def slow(request: StepRequest) -> Outputs:
            if not ended:  # the other one waits for the slot meanwhile
                time.sleep(1.02 - time.time() % 1)
            else:
                looked.wait(PATIENCE_S)
            ended.append(datetime.now(UTC))
            return {}

        executor = ScriptedExecutor(**{"a/0": slow, "b/0": slow})
        engine = open_engine(executor, runs.__getitem__, workers=1)
        engine.start(runs.make("run-1", step("a", foreach="[1]"), step("b", foreach="[1]")))
        await_true(lambda: len(executor.performed) == 2)
        later = executor.performed[1].partition("/")[0]
        working = by_name(engine.states(["run-1"])["run-1"])[later]
        looked.set()
        done = by_name(await_state(engine, "run-1", RunStatus.SUCCEEDED))[later]
        assert working.started_at is not None
        assert done.started_at is not None
        # SQLite has no more than the second of what is under way.
        assert working.started_at >= ended[0].replace(microsecond=0)
        assert done.started_at >= ended[0] - timedelta(milliseconds=1)

    def test_no_elements_are_a_success(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        engine = open_engine(executor, runs.__getitem__)
        each = step("each", foreach="[]", outputs=("o", "p"))
        after = step("b", inputs={"all": "{{ steps.each.outputs.o }}"})
        engine.start(runs.make("run-1", each, after))
        state = await_state(engine, "run-1")
        assert by_name(state)["each"].outputs == {"o": [], "p": []}
        assert by_name(state)["b"].outputs == {"all": []}
        assert executor.performed == ["b"]

    def test_too_many_elements_are_refused(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor()
        engine = open_engine(executor, runs.__getitem__)
        items = list(range(1001))
        engine.start(
            runs.make("run-1", step("each", foreach="{{ inputs.items }}"), inputs={"items": items})
        )
        state = await_state(engine, "run-1")
        assert state.error is not None
        assert (state.status, state.error["kind"]) == (RunStatus.FAILED, "invalid_input")
        assert executor.performed == []

    def test_an_unwanted_step_has_no_elements(self, open_engine: OpenEngine) -> None:
        runs, executor = Runs(), ScriptedExecutor(a=lambda request: {"go": False})
        engine = open_engine(executor, runs.__getitem__)
        each = step("each", "a", foreach="[1]", when="steps.a.outputs.go")
        engine.start(runs.make("run-1", step("a"), each))
        assert statuses(await_state(engine, "run-1")) == ["succeeded", "skipped"]

    def test_elements_are_retried_each(self, open_engine: OpenEngine) -> None:
        runs = Runs()

        def second_time(request: StepRequest) -> Outputs:
            if request.attempt < 2:
                raise StepFailed("not yet", "Try again.")
            return {"attempt": request.attempt}

        executor = ScriptedExecutor(**{"each/1": second_time})
        engine = open_engine(executor, runs.__getitem__)
        engine.start(runs.make("run-1", step("each", foreach="[1, 2]", retries=1, backoff_s=0.01)))
        found = by_name(await_state(engine, "run-1"))["each"]
        assert (found.status, found.attempt) == (RunStatus.SUCCEEDED, 2)
        assert sorted(executor.performed) == ["each/0", "each/1", "each/1"]

    def test_a_failed_element_fails_the_step_after_the_others(
        self, open_engine: OpenEngine
    ) -> None:
        runs, broken = Runs(), [True]

        def mended(request: StepRequest) -> Outputs:
            if broken[0]:
                raise StepFailed("no luck", "Have some.")
            return {"x": "mended"}

        executor = ScriptedExecutor(**{"each/0": mended})
        engine = open_engine(executor, runs.__getitem__, workers=1)
        each = step("each", foreach="[1, 2, 3]", inputs=ITEM)
        engine.start(runs.make("run-1", each, step("after", "each")))
        state = await_state(engine, "run-1")
        assert statuses(state) == ["failed", "skipped"]
        found = by_name(state)["each"]
        assert found.error is not None
        assert (found.error["kind"], found.error["details"]["failed"]) == ("step_failed", [0])
        assert "each/0" in found.error["what"]
        assert found.elements == {"total": 3, "ended": 3, "failed": 1}
        assert sorted(executor.committed) == ["each/1", "each/2"]
        broken[0] = False
        engine.resume("run-1")
        state = await_state(engine, "run-1", RunStatus.SUCCEEDED)
        assert by_name(state)["each"].outputs == {"x": ["mended", 2, 3]}
        assert sorted(executor.committed) == ["after", "each/0", "each/1", "each/2"]

    def test_a_missing_output_fails_its_element(self, open_engine: OpenEngine) -> None:
        runs = Runs()
        engine = open_engine(ScriptedExecutor(), runs.__getitem__)
        each = step("each", foreach="{{ inputs.items }}", inputs={"x": "{{ item.name }}"})
        engine.start(runs.make("run-1", each, inputs={"items": [{"name": 1}, {"title": 2}]}))
        error = await_state(engine, "run-1").error
        assert error is not None
        assert error["details"]["failed"] == [1]

    def test_cancel_stops_the_elements_and_resume_goes_on(self, open_engine: OpenEngine) -> None:
        runs, ended, told = Runs(), threading.Event(), list[str]()

        def wait(request: StepRequest) -> Outputs:
            if not told:
                ended.wait(PATIENCE_S)
                raise StepFailed("terminated", "Nothing.", details={"status": "cancelled"})
            return {"x": 0}

        def on_cancel(run_id: str) -> None:
            told.append(run_id)
            ended.set()

        executor = ScriptedExecutor(**{"each/1": wait})
        engine = open_engine(executor, runs.__getitem__, workers=1, on_cancel=on_cancel)
        engine.start(runs.make("run-1", step("each", foreach="[1, 2, 3]", inputs=ITEM)))
        await_true(lambda: "each/1" in executor.performed)
        await_elements(engine, {"total": 3, "ended": 1, "running": 1})
        engine.cancel("run-1")
        state = await_state(engine, "run-1")
        assert (state.status, statuses(state)) == (RunStatus.CANCELLED, ["cancelled"])
        assert by_name(state)["each"].elements == {"total": 3, "ended": 1, "running": 0}
        engine.resume("run-1")
        state = await_state(engine, "run-1", RunStatus.SUCCEEDED)
        assert by_name(state)["each"].outputs == {"x": [1, 0, 3]}
        assert sorted(executor.committed) == ["each/0", "each/1", "each/2"]

    def test_a_retry_takes_over_the_elements_that_succeeded(self, open_engine: OpenEngine) -> None:
        runs, broken = Runs(), [True]

        def mended(request: StepRequest) -> Outputs:
            if broken[0]:
                raise StepFailed("no luck", "Have some.")
            return {"run": request.run_id}

        executor = ScriptedExecutor(
            **{"each/0": lambda request: {"run": request.run_id}, "each/1": mended}
        )
        engine = open_engine(executor, runs.__getitem__)
        first = runs.make("run-1", step("each", foreach="[1, 2]"), step("after", "each"))
        engine.start(first)
        await_state(engine, "run-1")
        broken[0] = False

        def again(run_id: str, **facts: Any) -> Mapping[str, Any]:
            runs[run_id] = replace(first, id=run_id, **facts)
            engine.start(runs[run_id])
            return by_name(await_state(engine, run_id, RunStatus.SUCCEEDED))["each"].outputs

        assert again("run-2", retry_of="run-1") == {"run": ["run-1", "run-2"]}
        assert again("run-3", retry_of="run-2", from_step="after") == {"run": ["run-1", "run-2"]}
        assert again("run-4", retry_of="run-3", from_step="each") == {"run": ["run-4", "run-4"]}

    def test_elements_go_on_after_a_close(self, open_engine: OpenEngine) -> None:
        runs, closed = Runs(), threading.Event()

        def interrupted(request: StepRequest) -> Outputs:
            if not closed.is_set():
                closed.wait(PATIENCE_S)
                raise StepFailed("terminated", "The platform went down.")
            return {"x": 0}

        executor = ScriptedExecutor(**{"each/1": interrupted})
        engine = open_engine(executor, runs.__getitem__, workers=1)
        engine.start(runs.make("run-1", step("each", foreach="[1, 2, 3]", inputs=ITEM)))
        await_true(lambda: "each/1" in executor.performed)
        await_elements(engine, {"total": 3, "ended": 1, "running": 1})
        engine.close()
        until = datetime.now(UTC)
        closed.set()
        engine = open_engine(executor, runs.__getitem__)
        each = by_name(await_state(engine, "run-1"))["each"]
        assert each.outputs == {"x": [1, 0, 3]}
        assert each.started_at is not None
        assert each.started_at < until
        assert sorted(executor.committed) == ["each/0", "each/1", "each/2"]
        assert executor.performed.count("each/0") == 1
