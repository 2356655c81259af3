from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from volant.domain.minute import DeploymentMinute
from volant.store import Store
from volant.testing import samples

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def minute(deployment: str, at: datetime, requests: int = 10) -> DeploymentMinute:
    return DeploymentMinute(
        deployment=deployment,
        minute=at,
        requests=requests,
        errors=1,
        refused=2,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.5,
        rps_peak=4.0,
        cold_starts=1,
        memory_bytes=1 << 33,
        cpu_s=0.25,
        replicas=2,
    )


def made(store: Store, name: str) -> str:
    return store.deployments.ensure(samples.deployment(name)).name


def test_minutes_are_read_back_in_order_and_end_with_their_deployment(store: Store):
    one, other = made(store, "one"), made(store, "other")
    later = replace(minute(one, NOON + timedelta(minutes=1)), p50_ms=None, p95_ms=None)
    store.minutes.add([later, minute(one, NOON), minute(other, NOON), minute("gone", NOON)])
    assert list(store.minutes.between(one, NOON, NOON + timedelta(hours=1))) == [
        minute(one, NOON),
        later,
    ]
    assert list(store.minutes.between(one, NOON, NOON + timedelta(minutes=1))) == [
        minute(one, NOON)
    ]
    assert not store.minutes.between("gone", NOON, NOON + timedelta(hours=1))
    store.deployments.delete(one)
    assert not store.minutes.between(one, NOON, NOON + timedelta(hours=1))
    assert len(store.minutes.between(other, NOON, NOON + timedelta(hours=1))) == 1


def test_minutes_two_parts_of_one_minute_are_joined(store: Store):
    name = made(store, "one")
    store.minutes.add([minute(name, NOON, 10)])
    store.minutes.add([replace(minute(name, NOON, 30), p50_ms=2.0, p95_ms=None, p99_ms=9.0)])
    (joined,) = store.minutes.between(name, NOON, NOON + timedelta(minutes=1))
    assert (joined.requests, joined.errors, joined.refused, joined.cold_starts) == (40, 2, 4, 2)
    assert (joined.p50_ms, joined.p95_ms, joined.p99_ms) == (1.75, 2.0, 9.0)
    assert (joined.cpu_s, joined.replicas, joined.memory_bytes) == (0.5, 2, 1 << 33)


def test_minutes_are_pruned_by_age(store: Store):
    name = made(store, "one")
    store.minutes.add([minute(name, NOON - timedelta(days=days)) for days in range(5)])
    assert store.minutes.prune(NOON - timedelta(days=2)) == 2
    assert len(store.minutes.between(name, NOON - timedelta(days=9), NOON + timedelta(days=1))) == 3
