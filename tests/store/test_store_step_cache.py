from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

from volant.ports.step_cache import CachedStep
from volant.store import Store

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def entry(key: str, run_id: str = "run-1", at: datetime = NOW) -> CachedStep:
    return CachedStep(key, {"o": [1, None, {"p": "x"}]}, run_id, "a", at, at)


def test_what_was_put_is_there(store: Store) -> None:
    assert store.step_cache.get("k", NOW) is None
    assert store.step_cache.put(entry("k"))
    assert store.step_cache.get("k", NOW) == entry("k")


def test_the_first_stays(store: Store) -> None:
    meeting, first = Barrier(4), list[str]()

    def put(run_id: str) -> None:
        meeting.wait()
        if store.step_cache.put(entry("k", run_id)):
            first.append(run_id)

    threads = [Thread(target=put, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.step_cache.get("k", NOW)
    assert found is not None
    assert first == [found.run_id]


def test_only_what_is_meant_is_dropped(store: Store) -> None:
    store.step_cache.put(entry("k", "run-1"))
    assert not store.step_cache.drop("k", "run-2")
    assert store.step_cache.drop("k", "run-1")
    assert not store.step_cache.drop("k")


def test_a_use_is_noted_now_and_then(store: Store) -> None:
    store.step_cache.put(entry("k"))
    store.step_cache.get("k", NOW + HOUR / 2)
    found = store.step_cache.get("k", NOW + 2 * HOUR)
    assert found is not None
    assert found.last_used_at == NOW  # as it was before this use
    found = store.step_cache.get("k", NOW + 2 * HOUR)
    assert found is not None
    assert found.last_used_at == NOW + 2 * HOUR


def test_what_is_old_or_too_much_goes(store: Store) -> None:
    for age in range(6):
        store.step_cache.put(entry(f"k{age}", at=NOW - age * HOUR))
    assert store.step_cache.prune(NOW - 3.5 * HOUR, keep=10) == 2
    assert store.step_cache.prune(NOW - 9 * HOUR, keep=2) == 2
    left = [age for age in range(6) if store.step_cache.get(f"k{age}", NOW)]
    assert left == [0, 1]
