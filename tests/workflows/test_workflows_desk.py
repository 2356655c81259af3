"""RunDesk over the real records and the real engine."""

import threading
from datetime import UTC, datetime

import pytest

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.adapters.system import SortableIds, SystemClock
from volant.domain.event import RUN_STARTED
from volant.domain.run import Run, RunStatus
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed
from volant.store import Store, sqlite_url
from volant.testing.engine_contract import ScriptedExecutor, await_state, await_true
from volant.workflows.desk import RunDesk, finished_event
from volant.workflows.plan import plan_workflow

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WORKFLOW = WorkflowSpec(
    "w", (StepSpec("split", uses="split"), StepSpec("train", uses="train", needs=("split",)))
)


class Place:
    """A desk with all that it needs, in a folder."""

    def __init__(self, home):
        self.store = Store(sqlite_url(home / "volant.db"))
        self.store.migrate()
        self.executor = ScriptedExecutor()
        self.engine = DbosEngine(
            sqlite_url(home / "runs.db"),
            self.executor,
            home,
            self.store.runs.get,
            plan_workflow,
        )
        self.engine.launch()
        self.desk = RunDesk(self.store.runs, self.engine, home, SystemClock(), SortableIds())

    def start(self, run_id, workflow=WORKFLOW):
        return self.desk.start(Run(run_id, workflow, NOW))


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.engine.close()
    made.store.close()


def fail(request):
    raise StepFailed("no luck", "Have some.")


def test_a_run_is_stored_told_and_done(place):
    run = place.start("run-aaaa")
    assert place.start("run-aaaa") == run
    await_state(place.engine, "run-aaaa")
    stored, state = place.desk.get("run-aaaa")
    assert stored == run
    assert state.status is RunStatus.SUCCEEDED
    events, _ = place.store.events.page(10, subject="run/run-aaaa")
    assert [event.type for event in events] == [RUN_STARTED]
    page, cursor = place.desk.page(10)
    assert [(run.id, state.status) for run, state in page] == [("run-aaaa", RunStatus.SUCCEEDED)]
    assert cursor is None


def test_what_cannot_run_is_not_stored(place):
    circle = (StepSpec("a", uses="x", needs=("a",)),)
    with pytest.raises(InvalidInput):
        place.start("run-1", WorkflowSpec("w", circle))
    assert place.desk.page(10) == ([], None)


def test_unknown_runs_and_steps_name_the_nearest(place):
    with pytest.raises(NotFound) as caught:
        place.desk.get("run-1")
    assert "No run" in caught.value.fix
    place.start("run-4307b257e0cef0906e35607e")
    for verb in (place.desk.get, place.desk.cancel, place.desk.resume, place.desk.logs):
        with pytest.raises(NotFound) as caught:
            verb("run-4307b257e0cef0906e35607f")
        assert "run-4307b257e0cef0906e35607e" in caught.value.fix
    for verb in (place.desk.retry, place.desk.logs):
        with pytest.raises(NotFound) as caught:
            verb("run-4307b257e0cef0906e35607e", "trian")
        assert "train" in caught.value.fix


def test_a_run_stored_just_before_a_crash_is_taken_up(place):
    for run_id in ("run-1", "run-2", "run-3"):
        place.store.runs.create(Run(run_id, WORKFLOW, NOW))
    run, state = place.desk.get("run-1")
    assert (run.id, state.status) == ("run-1", RunStatus.QUEUED)
    assert [step.status for step in state.steps] == [RunStatus.QUEUED] * 2
    assert sorted(place.desk.recover()) == ["run-1", "run-2", "run-3"]
    for run_id in ("run-1", "run-2", "run-3"):
        assert await_state(place.engine, run_id).status is RunStatus.SUCCEEDED
    assert place.desk.recover() == []


def test_a_run_the_engine_does_not_know_can_be_cancelled(place):
    place.store.runs.create(Run("run-1", WORKFLOW, NOW))
    go = threading.Event()
    place.executor.scripts["split"] = lambda request: {"went": go.wait(30)}
    place.desk.cancel("run-1")
    go.set()
    assert place.desk.get("run-1")[1].status is RunStatus.CANCELLED


def test_a_failed_run_is_resumed(place):
    place.executor.scripts["train"] = fail
    place.start("run-1")
    assert await_state(place.engine, "run-1").status is RunStatus.FAILED
    del place.executor.scripts["train"]
    place.desk.resume("run-1")
    assert await_state(place.engine, "run-1", RunStatus.SUCCEEDED)
    assert place.executor.performed == ["split", "train", "train"]


def test_a_retry_is_a_new_run_that_keeps_what_succeeded(place):
    place.executor.scripts["train"] = fail
    place.start("run-1")
    await_state(place.engine, "run-1")
    del place.executor.scripts["train"]
    again = place.desk.retry("run-1")
    assert again.id != "run-1"
    assert (again.retry_of, again.from_step, again.workflow) == ("run-1", None, WORKFLOW)
    assert await_state(place.engine, again.id).status is RunStatus.SUCCEEDED
    assert place.executor.performed == ["split", "train", "train"]
    with pytest.raises(Conflict) as caught:
        place.desk.retry(again.id)
    assert "--from split" in caught.value.fix
    third = place.desk.retry(again.id, "split")
    assert await_state(place.engine, third.id).status is RunStatus.SUCCEEDED
    assert place.executor.performed[3:] == ["split", "train"]
    assert place.store.runs.get(third.id).from_step == "split"


def test_a_run_under_way_is_not_retried(place):
    go = threading.Event()
    place.executor.scripts["split"] = lambda request: {"went": go.wait(30)}
    place.start("run-1")
    await_true(lambda: place.executor.performed)
    with pytest.raises(Conflict):
        place.desk.retry("run-1")
    go.set()
    await_state(place.engine, "run-1")


def test_logs_follow_a_run_to_its_end(place):
    go = threading.Event()

    def write(request):
        with (request.workdir / "log.jsonl").open("w") as log:
            log.write('{"time": "2030-01-01T00:00:00Z", "stream": "stdout", "text": "hello"}\n')
        go.wait(30)
        return {}

    place.executor.scripts["train"] = write
    place.start("run-1")
    await_true(lambda: place.desk.logs("run-1")["lines"])
    first = place.desk.logs("run-1")
    assert [(line["step"], line["text"]) for line in first["lines"]] == [("train", "hello")]
    assert not first["done"]
    assert place.desk.logs("run-1", "split")["done"]
    go.set()
    await_state(place.engine, "run-1")
    rest = place.desk.logs("run-1", after=first["after"])
    assert (rest["lines"], rest["done"]) == ([], True)


def test_logs_of_elements_are_told_apart(place):
    def write(request):
        with (request.workdir / "log.jsonl").open("w") as log:
            time = f"2030-01-01T00:00:0{request.inputs['n']}Z"
            log.write(f'{{"time": "{time}", "stream": "stdout", "text": "hello"}}\n')
        return {}

    names = [f"each/{number}" for number in range(11)]
    place.executor.scripts.update(dict.fromkeys(names, write))
    each = StepSpec("each", uses="each", foreach=str([9] * 10 + [1]), inputs={"n": "{{ item }}"})
    place.start("run-1", WorkflowSpec("w", (each,)))
    await_state(place.engine, "run-1")
    for step in (None, "each"):
        found = place.desk.logs("run-1", step)
        assert [line["step"] for line in found["lines"]] == ["each/10", *names[:10]]
        assert found["done"]
    found = place.desk.logs("run-1", "each/3")
    assert [line["step"] for line in found["lines"]] == ["each/3"]
    assert place.desk.logs("run-1", "each/03")["lines"] == found["lines"]
    with pytest.raises(NotFound, match="11 elements, no each/11"):
        place.desk.logs("run-1", "each/11")
    for odd in ("each/x", "each/-1", "each/" + "9" * 5000):
        with pytest.raises(NotFound, match="no step"):
            place.desk.logs("run-1", odd)


def test_the_event_of_an_end_says_how():
    run = Run("run-1", WORKFLOW, NOW, loop="wine")
    event = finished_event(run, RunStatus.FAILED, {"what": "no luck"}, NOW)
    assert (event.subject, event.data["status"]) == ("run/run-1", "failed")
    assert event.data["error"] == {"what": "no luck"}
