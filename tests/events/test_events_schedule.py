from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.dataset import Dataset
from volant.domain.event import CRON_FIRED, LOOP_APPLIED, Event
from volant.domain.loop import DataSpec, Loop, LoopSpec
from volant.domain.trigger import Trigger
from volant.errors import InvalidInput
from volant.events.schedule import Schedule, event_id_of, next_at
from volant.store.records import Store

DUE = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = DUE

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def schedule(store: Store, clock: Clock, woken: threading.Event) -> Schedule:
    return Schedule(triggers=store.triggers, clock=clock, wake=woken.set)


def nightly(store: Store, cron: str = "0 2 * * *", name: str = "a") -> Trigger:
    store.datasets.create(Dataset("wine", None, DUE))
    trigger = Trigger(f"{name}:cron:x", name, "cron", cron=cron, next_at=DUE)
    loop = Loop(name, 1, "", LoopSpec(name, DataSpec("wine", "y")), DUE, DUE)
    store.loops.apply(loop, [trigger], Event(f"e-{name}", LOOP_APPLIED, "t", f"loop/{name}", DUE))
    return trigger


def fired(store: Store) -> list[Event]:
    return [event for event in store.events.pending(100) if event.type == CRON_FIRED]


def test_a_due_trigger_fires_once_and_moves_on(
    schedule: Schedule, store: Store, woken: threading.Event
) -> None:
    trigger = nightly(store)
    assert schedule.tick() == 1
    assert woken.is_set()
    (event,) = fired(store)
    assert event.id == event_id_of(trigger.id, DUE)
    assert event.subject == "loop/a"
    assert event.data["trigger"] == trigger.id
    assert event.data["due"] == "2026-03-01T02:00:00+00:00"
    assert store.triggers.list()[0].next_at == DUE + timedelta(days=1)
    woken.clear()
    assert schedule.tick() == 0
    assert not woken.is_set()


def test_nothing_fires_early(schedule: Schedule, store: Store, clock: Clock) -> None:
    nightly(store)
    clock.time = DUE - timedelta(microseconds=1)
    assert schedule.tick() == 0


def test_a_week_of_missed_nights_is_one_firing(
    schedule: Schedule, store: Store, clock: Clock
) -> None:
    nightly(store)
    clock.time = DUE + timedelta(days=7, hours=3)
    assert schedule.tick() == 1
    assert schedule.tick() == 0
    assert len(fired(store)) == 1
    assert store.triggers.list()[0].next_at == DUE + timedelta(days=8)


def test_two_schedulers_fire_once(store: Store, clock: Clock) -> None:
    nightly(store)
    first = Schedule(triggers=store.triggers, clock=clock, wake=lambda: None)
    seen = store.triggers.due(clock.now())

    class Late:
        """What another server read before the first one fired."""

        def __getattr__(self, name: str) -> object:
            if name == "due":
                return lambda _now: seen
            return getattr(store.triggers, name)

    second = Schedule(triggers=Late(), clock=clock, wake=lambda: None)  # type: ignore[arg-type]
    assert first.tick() == 1
    assert second.tick() == 0
    assert len(fired(store)) == 1


def test_one_unreadable_schedule_stops_no_other(
    schedule: Schedule, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    nightly(store, cron="not a cron", name="a")
    nightly(store, name="b")
    assert schedule.tick() == 1
    assert [event.subject for event in fired(store)] == ["loop/b"]
    assert "'not a cron' is no schedule" in caplog.text


def test_the_thread_fires_and_stops(store: Store, clock: Clock, woken: threading.Event) -> None:
    nightly(store)
    schedule = Schedule(triggers=store.triggers, clock=clock, wake=woken.set)
    schedule.start()
    assert woken.wait(30)
    schedule.close()
    assert len(fired(store)) == 1


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 2 * * *", "2026-03-01T02:00:00+00:00", "2026-03-02T02:00:00+00:00"),
        ("*/15 * * * *", "2026-03-01T02:07:30+00:00", "2026-03-01T02:15:00+00:00"),
        ("30 6 * * mon", "2026-03-01T00:00:00+00:00", "2026-03-02T06:30:00+00:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        # given in another zone, it is still a schedule in UTC
        ("0 2 * * *", "2026-03-01T03:30:00+02:00", "2026-03-01T02:00:00+00:00"),
    ],
)
def test_next_times(cron: str, after: str, expected: str) -> None:
    assert next_at(cron, datetime.fromisoformat(after)).isoformat() == expected


@pytest.mark.parametrize("cron", ["", "x", "0 0 31 2 *", "* * * *"])
def test_what_never_comes_due_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInput):
        next_at(cron, DUE)


@given(
    st.sampled_from(["* * * * *", "0 2 * * *", "*/7 3 1 * *", "0 0 * * sun"]),
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001
    st.integers(-12, 12),
)
def test_the_next_time_is_later_on_a_minute_and_in_utc(
    cron: str, naive: datetime, hours: int
) -> None:
    after = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    found = next_at(cron, after)
    assert found > after
    assert (found.second, found.microsecond) == (0, 0)
    assert found.utcoffset() == timedelta(0)
