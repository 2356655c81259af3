from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volant.domain.dataset import Dataset
from volant.domain.decision import Decision, Outcome
from volant.domain.event import CRON_FIRED, DATASET_COMMITTED, DATASET_REJECTED, LOOP_APPLIED, Event
from volant.domain.loop import DataSpec, Loop, LoopSpec
from volant.domain.trigger import Trigger
from volant.errors import NotFound, Unavailable
from volant.events.dispatcher import MAX_ATTEMPTS, Dispatcher, decision_id_of, run_id_of
from volant.store.engine import sqlite_url
from volant.store.records import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW


class Starts:
    """A `start` that is idempotent by run id, as the real one is, and can fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.runs: dict[str, str] = {}
        self.errors: dict[str, list[Exception]] = {}  # by loop, in turn
        self.seen = threading.Event()

    def __call__(self, trigger: Trigger, event: Event, run_id: str) -> None:
        self.calls.append(run_id)
        waiting = self.errors.get(trigger.loop)
        if waiting:
            raise waiting.pop(0)
        self.runs[run_id] = trigger.loop
        self.seen.set()


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def listen(store: Store, loop: str, dataset: str = "wine") -> Trigger:
    trigger = Trigger(f"{loop}:data:{dataset}", loop, "data", dataset=dataset)
    add(store, loop, trigger)
    return trigger


def add(store: Store, loop: str, *triggers: Trigger) -> None:
    store.datasets.create(Dataset("wine", None, NOW))
    spec = LoopSpec(loop, DataSpec("wine", "quality"))
    applied = Event(f"applied-{loop}", LOOP_APPLIED, "test", f"loop/{loop}", NOW)
    store.loops.apply(Loop(loop, 1, "source", spec, NOW, NOW), triggers, applied)


def commit(store: Store, key: str = "c1", dataset: str = "wine", rows: int = 5) -> Event:
    data = {"dataset": dataset, "version": 3, "rows_added": rows}
    event = Event(f"evt-{key}", DATASET_COMMITTED, "test", f"dataset/{dataset}", NOW, data)
    store.events.append(event)
    return event


def decisions(store: Store) -> list[Decision]:
    return list(store.decisions.page(100)[0])[::-1]


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def dispatcher(store: Store, starts: Starts, ticking: Ticking) -> Dispatcher:
    return dispatcher_on(store, starts, ticking)


def dispatcher_on(
    store: Store,
    start: Callable[[Trigger, Event, str], object],
    monotonic: Callable[[], float] = lambda: 0.0,
    ignore: Callable[[Trigger, Event], str | None] = lambda _trigger, _event: None,
) -> Dispatcher:
    return Dispatcher(
        events=store.events,
        triggers=store.triggers,
        decisions=store.decisions,
        start=start,
        clock=Clock(),
        ignore=ignore,
        monotonic=monotonic,
    )


def test_a_commit_starts_every_loop_that_listens(
    dispatcher: Dispatcher, store: Store, starts: Starts
) -> None:
    first, second = listen(store, "a"), listen(store, "b")
    listen(store, "elsewhere", "beer")
    event = commit(store)
    assert dispatcher.dispatch_pending() == 4  # three loops were applied
    assert starts.runs == {run_id_of(event.id, first.id): "a", run_id_of(event.id, second.id): "b"}
    assert store.events.pending(10) == []
    told = {decision.loop: decision for decision in decisions(store)}
    assert set(told) == {"a", "b"}
    assert told["a"].outcome is Outcome.FIRED
    assert told["a"].run_id == run_id_of(event.id, first.id)
    assert told["a"].event_id == event.id
    assert told["a"].reason == "The dataset wine got version 3 with 5 new rows."
    assert dispatcher.dispatch_pending() == 0


def test_an_event_that_nobody_hears_leaves_no_decision(
    dispatcher: Dispatcher, store: Store
) -> None:
    commit(store)
    assert dispatcher.dispatch_pending() == 1
    assert decisions(store) == []


def test_a_schedule_starts_only_its_own_trigger(
    dispatcher: Dispatcher, store: Store, starts: Starts
) -> None:
    crons = [Trigger(f"a:cron:{i}", "a", "cron", cron="0 2 * * *", next_at=NOW) for i in "12"]
    add(store, "a", *crons)
    data = {"trigger": "a:cron:2", "loop": "a", "due": "2026-03-01T02:00:00+00:00"}
    store.events.append(Event("evt-cron", CRON_FIRED, "test", "loop/a", NOW, data))
    dispatcher.dispatch_pending()
    assert starts.runs == {run_id_of("evt-cron", "a:cron:2"): "a"}
    assert "'0 2 * * *' was due at 2026-03-01T02:00:00" in decisions(store)[0].reason


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        (DATASET_REJECTED, {"reason": "All rows broke the contract."}, "rejected: All rows broke"),
        (DATASET_REJECTED, {}, "rejected: no row was good."),
        (DATASET_COMMITTED, {"rows_added": 0}, "added no rows"),
    ],
)
def test_what_gives_no_new_rows_is_ignored_with_the_reason(
    dispatcher: Dispatcher,
    store: Store,
    starts: Starts,
    kind: str,
    data: dict[str, object],
    reason: str,
) -> None:
    listen(store, "a")
    store.events.append(Event("evt-1", kind, "test", "dataset/wine", NOW, data))
    dispatcher.dispatch_pending()
    (decision,) = decisions(store)
    assert decision.outcome is Outcome.IGNORED
    assert reason in decision.reason
    assert decision.run_id is None
    assert starts.calls == []


def test_the_platform_may_ignore_with_its_own_reason(store: Store, starts: Starts) -> None:
    listen(store, "a")
    commit(store)
    dispatcher_on(store, starts, ignore=lambda t, _e: f"{t.loop} is paused.").dispatch_pending()
    assert [(d.outcome, d.reason) for d in decisions(store)] == [(Outcome.IGNORED, "a is paused.")]
    assert starts.calls == []


def test_a_verdict_that_is_stored_stands(store: Store, starts: Starts) -> None:
    trigger = listen(store, "a")
    event = commit(store)
    verdicts: list[str | None] = [None, "paused meanwhile"]
    dispatcher = dispatcher_on(store, starts, ignore=lambda _t, _e: verdicts.pop(0))
    starts.errors["a"] = [Unavailable("the engine is busy", "wait")]
    dispatcher.dispatch_pending()
    assert starts.runs == {}
    dispatcher_on(store, starts, ignore=lambda _t, _e: "paused meanwhile").dispatch_pending()
    assert starts.runs == {run_id_of(event.id, trigger.id): "a"}
    assert [d.outcome for d in decisions(store)] == [Outcome.FIRED]


def test_a_failing_start_is_tried_again_and_holds_nobody_up(
    dispatcher: Dispatcher, store: Store, starts: Starts, ticking: Ticking
) -> None:
    listen(store, "bad"), listen(store, "good")
    starts.errors["bad"] = [Unavailable("no", "wait"), RuntimeError("odd")]
    first, second = commit(store, "1"), commit(store, "2")
    dispatcher.dispatch_pending()
    # the second event's start failed too (its turn in the list), both loops' good runs began
    assert sorted(starts.runs.values()) == ["good", "good"]
    assert [e.id for e in store.events.pending(10)] == [first.id, second.id]
    assert dispatcher.dispatch_pending() == 0  # not before the wait is over
    calls = len(starts.calls)
    ticking.now = 0.6
    assert dispatcher.dispatch_pending() == 2
    assert len(starts.calls) == calls + 2  # what began before isn't started again
    assert sorted(starts.runs.values()) == ["bad", "bad", "good", "good"]
    assert {d.outcome for d in decisions(store)} == {Outcome.FIRED}


def test_a_start_that_never_works_ends_as_a_decision(
    dispatcher: Dispatcher, store: Store, starts: Starts, ticking: Ticking
) -> None:
    trigger = listen(store, "a")
    event = commit(store)
    starts.errors["a"] = [Unavailable("The engine is away.", "Wait.") for _ in range(50)]
    for _ in range(MAX_ATTEMPTS):
        dispatcher.dispatch_pending()
        ticking.now += 1000
    assert len(starts.calls) == MAX_ATTEMPTS
    assert store.events.pending(10) == []
    fired, failed = decisions(store)
    assert (fired.outcome, failed.outcome) == (Outcome.FIRED, Outcome.FAILED)
    assert failed.id == decision_id_of(event.id, trigger.id, "failed")
    assert failed.reason == (
        f"The run could not be started, tried {MAX_ATTEMPTS} times: The engine is away."
    )
    assert failed.details["error"]["kind"] == "unavailable"


def test_a_hopeless_start_is_tried_once(
    dispatcher: Dispatcher, store: Store, starts: Starts
) -> None:
    listen(store, "a"), listen(store, "b")
    commit(store)
    starts.errors["a"] = [NotFound("There is no loop 'a'.", "Apply it.")]
    dispatcher.dispatch_pending()
    assert store.events.pending(10) == []
    assert list(starts.runs.values()) == ["b"]
    assert [d.outcome for d in decisions(store) if d.loop == "a"] == [Outcome.FIRED, Outcome.FAILED]


def test_many_waiting_events_do_not_starve_new_ones(store: Store, starts: Starts) -> None:
    listen(store, "bad")
    dispatcher = dispatcher_on(store, starts)
    starts.errors["bad"] = [Unavailable("no", "wait") for _ in range(150)]
    for i in range(150):
        commit(store, f"{i:03}")
    dispatcher.dispatch_pending()
    dispatcher.dispatch_pending()
    assert len(starts.calls) == 150
    commit(store, "new")
    assert dispatcher.dispatch_pending() == 1


def test_reading_an_event_again_starts_the_same_run(store: Store, starts: Starts) -> None:
    listen(store, "a")
    event = commit(store)

    class Replayed:
        """The outbox, telling one event once more."""

        def __getattr__(self, name: str) -> object:
            if name == "pending":
                return lambda _limit: [event]
            return getattr(store.events, name)

    for _ in range(3):
        Dispatcher(
            events=Replayed(),  # type: ignore[arg-type]
            triggers=store.triggers,
            decisions=store.decisions,
            start=starts,
            clock=Clock(),
        ).dispatch_pending()
    assert len(starts.runs) == 1
    assert len(decisions(store)) == 1


def crashed_at(point: str, database: Path, started: Path) -> bool:
    """Dispatch in a process that is killed at `point`; whether it was."""
    child = os.fork()
    if child == 0:
        os.environ["VOLANT_CRASH_AT"] = point
        with Store(sqlite_url(database)) as store:
            dispatcher_on(store, recording(started)).dispatch_pending()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def recording(folder: Path) -> Callable[[Trigger, Event, str], None]:
    def start(trigger: Trigger, event: Event, run_id: str) -> None:
        (folder / run_id).touch()

    return start


@pytest.mark.parametrize(("point", "begun"), [("events.fired", 0), ("events.started", 1)])
def test_killed_anywhere_each_loop_gets_its_one_run(
    point: str, begun: int, store: Store, tmp_path: Path
) -> None:
    listen(store, "a"), listen(store, "b")
    while store.events.pending(10):
        store.events.mark_dispatched(store.events.pending(1)[0].id)
    event = commit(store)
    store.close()
    started = tmp_path / "started"
    started.mkdir()
    assert crashed_at(point, tmp_path / "volant.db", started)
    assert len(list(started.iterdir())) == begun
    assert [e.id for e in store.events.pending(10)] == [event.id]
    assert len(decisions(store)) == 1
    dispatcher_on(store, recording(started)).dispatch_pending()
    wanted = {run_id_of(event.id, f"{loop}:data:wine") for loop in "ab"}
    assert {path.name for path in started.iterdir()} == wanted
    assert [d.outcome for d in decisions(store)] == [Outcome.FIRED] * 2
    assert store.events.pending(10) == []


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["work", "unavailable", "hopeless", "restart"]), max_size=12))
def test_whatever_fails_in_between_no_run_is_lost_or_doubled(
    migrated: Path, tmp_path: Path, turns: list[str]
) -> None:
    path = tmp_path / f"{os.urandom(8).hex()}.db"
    path.write_bytes(migrated.read_bytes())
    with Store(sqlite_url(path)) as store:
        starts, ticking = Starts(), Ticking()
        listen(store, "a"), listen(store, "b")
        event = commit(store)
        dispatcher = dispatcher_on(store, starts, ticking)
        hopeless = False
        for turn in turns:
            starts.errors["a"] = {
                "unavailable": [Unavailable("no", "wait")],
                "hopeless": [NotFound("no", "make one")],
            }.get(turn, [])
            if turn == "restart":
                dispatcher = dispatcher_on(store, starts, ticking)
                continue
            pending = bool(store.events.pending(10))
            dispatcher.dispatch_pending()
            hopeless = hopeless or (turn == "hopeless" and pending)
            ticking.now += 100
        starts.errors["a"] = []
        ticking.now += 100
        dispatcher.dispatch_pending()
        assert store.events.pending(10) == []
        runs = {loop: run_id_of(event.id, f"{loop}:data:wine") for loop in "ab"}
        assert runs["b"] in starts.runs
        assert runs["a"] in starts.runs or hopeless
        assert set(starts.runs) <= set(runs.values())


def test_the_thread_is_woken_and_stops(store: Store, starts: Starts) -> None:
    listen(store, "a")
    dispatcher = Dispatcher(
        events=store.events,
        triggers=store.triggers,
        decisions=store.decisions,
        start=starts,
        clock=Clock(),
        poll_s=3600,
    )
    store._database.on_event(lambda _event: dispatcher.wake())  # pyright: ignore
    dispatcher.start()
    commit(store)
    assert starts.seen.wait(30)
    dispatcher.close()
    assert store.events.pending(10) == []


def test_the_thread_outlives_a_database_that_is_away(
    store: Store, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    listen(store, "a")
    commit(store)
    answers = [Unavailable("locked", "wait"), RuntimeError("odd")]

    class Away:
        def __getattr__(self, name: str) -> object:
            if name == "pending" and answers:
                raise answers.pop(0)
            return getattr(store.events, name)

    dispatcher = Dispatcher(
        events=Away(),  # type: ignore[arg-type]
        triggers=store.triggers,
        decisions=store.decisions,
        start=starts,
        clock=Clock(),
        poll_s=0.001,
    )
    dispatcher.start()
    assert starts.seen.wait(30)
    dispatcher.close()
    assert "The outbox can't be read now: locked" in caplog.text
    assert "it goes on" in caplog.text


def test_ids_are_told_apart_and_stay() -> None:
    assert run_id_of("a", "bc") != run_id_of("ab", "c")
    assert run_id_of("evt-1", "t") == run_id_of("evt-1", "t")
    assert run_id_of("evt-1", "t").startswith("run-")
    assert decision_id_of("e", "t") != decision_id_of("e", "t", "failed")


def test_what_else_an_event_asks_for_is_done_until_it_works(store: Store) -> None:
    store.events.append(Event("evt-1", LOOP_APPLIED, "test", "loop/a", NOW))
    seen: list[str] = []
    wrong: list[Exception] = [OSError("busy")] * (MAX_ATTEMPTS + 1)

    def effect(one: Event) -> None:
        if wrong:
            raise wrong.pop()
        seen.append(one.id)

    ticking = Ticking()
    dispatcher = Dispatcher(
        events=store.events,
        triggers=store.triggers,
        decisions=store.decisions,
        start=Starts(),
        clock=Clock(),
        effects={LOOP_APPLIED: effect},
        monotonic=ticking,
    )
    for _ in range(MAX_ATTEMPTS + 1):
        assert dispatcher.dispatch_pending() == 0
        assert dispatcher.dispatch_pending() == 0  # not before its time
        ticking.now += 61
    assert dispatcher.dispatch_pending() == 1
    assert seen == ["evt-1"]
    assert not store.events.pending(9)
