"""A pool's memory of what failed, and of who waited."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from volant.domain.loop import ReplicaSpec
from volant.serving.desired import Patience
from volant.serving.door import Door
from volant.serving.pool import SETTLED_S, Pool
from volant.serving.replica_handle import ReplicaHandle, ReplicaState, ServedVersion
from volant.serving.trouble import trouble

VERSION = ServedVersion("m", 1, "m", 1, Path(), {})


class Listener:
    """Tells the pool of clients when `knock` is called."""

    def __init__(self):
        self.callback = None

    def watch(self, listening, callback):
        self.callback = callback

    def unwatch(self, listening):
        self.callback = None

    def knock(self, now):
        self.callback(now)


class World:
    """A pool with a public door whose replicas do what a test says."""

    def __init__(self, **spec):
        self.now = 1000.0
        self.clients = Listener()
        self._ends = []
        self.pool = Pool(VERSION, self._launch, down_s=1.0)
        listening, other = socket.socketpair()
        self._ends += [listening, other]
        self.pool.doors["public"] = Door("public", listening, self.clients)
        self.pool.scale(ReplicaSpec(**spec))

    def _launch(self, version):
        ours, theirs = socket.socketpair()
        self._ends += [ours, theirs]
        return ReplicaHandle(version, 0, ours, self.now)

    def step(self, seconds=0.0):
        self.now += seconds
        self.pool.step(self.now, Patience(), relieved=False)

    def ready(self):
        """What starts has loaded its model; how long somebody waited for it."""
        waited = None
        for handle in self.pool.handles:
            if handle.state is ReplicaState.STARTING:
                handle.state = ReplicaState.READY
                handle.ready_at = handle.last_request = self.now
                if handle.accepting:
                    waited = self.pool.answers(self.now)
        return waited

    def lose(self, handle):
        self.pool.handles.remove(handle)
        self.pool.lost(handle, "It ended.", self.now)

    def leave(self):
        """Those that drain are gone."""
        self.pool.handles = [h for h in self.pool.handles if not h.leaving]

    def close(self):
        for end in self._ends:
            end.close()


@pytest.fixture
def world():
    made = []

    def make(**spec):
        made.append(World(**spec))
        return made[-1]

    yield make
    for each in made:
        each.close()


def served_and_lost(world, **spec):
    """One replica served, was killed, and another one serves."""
    found = world(min=0, max=1, **spec)
    found.step()
    found.clients.knock(found.now)
    found.step()
    found.ready()
    found.lose(found.pool.active[0])
    found.step(0.1)
    found.clients.knock(found.now)
    found.step()
    found.ready()
    assert "ended once" in found.pool.reason(found.now)
    return found


@pytest.mark.parametrize("idle_s", [2.0, 60.0], ids=["soon idle", "settled"])
def test_pool_one_loss_isnt_held_against_it_for_ever(world, idle_s):
    found = served_and_lost(world, idle_s=idle_s)
    while found.pool.active:
        found.step(1.0)
    found.leave()
    found.step(1.0)
    assert found.pool.handles == []
    assert found.pool.reason(found.now) is None


def test_pool_a_spare_that_lasts_proves_the_model(world):
    found = world(min=0, max=1, spares=1)
    found.step()
    found.ready()
    found.lose(found.pool.waiting[0])
    found.step(0.1)
    found.ready()
    assert found.pool.reason(found.now)
    due = found.pool.next_step(found.now, Patience())
    assert found.now < due <= found.now + SETTLED_S
    found.step(SETTLED_S + 0.1)
    assert found.pool.reason(found.now) is None


def test_pool_who_serves_beside_one_that_fails_doesnt_excuse_it(world):
    found = world(min=2, max=2)
    found.step()
    found.ready()
    found.step(2 * SETTLED_S)
    for failures in (1, 2, 3, 4):
        found.lose(found.pool.active[1])
        found.step()
        assert found.pool.failures == failures
        found.step(found.pool.start_at - found.now + 0.01)
        found.ready()
    found.step(SETTLED_S + 0.1)
    assert found.pool.failures == 0


def test_pool_a_loss_is_no_trouble_once_no_more_are_wanted_than_have_lasted(world):
    found = world(min=1, max=2)
    found.step()
    found.ready()
    found.step(2 * SETTLED_S)
    found.pool.scale(ReplicaSpec(min=2, max=2))
    found.step()
    found.ready()
    found.lose(found.pool.active[1])
    found.step(found.pool.start_at - found.now + 0.01)
    assert trouble(found.pool, found.now) is not None  # another one starts
    found.pool.scale(ReplicaSpec(min=1, max=1))
    found.step()
    assert found.pool.failures == 1
    assert trouble(found.pool, found.now) is None


@pytest.mark.parametrize(
    ("change", "forgiven"),
    [({"memory_bytes": 2**30}, True), ({"cpu": 2.0}, True), ({"max": 3}, False)],
)
def test_pool_other_limits_end_the_wait_for_the_next_start(world, change, forgiven):
    found = world(min=1, max=1)
    for _ in range(6):
        found.step(60)
        found.lose(found.pool.active[0])
    assert found.pool.start_at > found.now
    found.pool.scale(ReplicaSpec(**{"min": 1, "max": 1, **change}))
    found.step()
    assert bool(found.pool.active) is forgiven


def test_pool_a_spare_ends_the_wait_for_a_replica(world):
    found = world(min=0, max=1, idle_s=2, spares=1)
    found.step()
    found.ready()
    found.clients.knock(found.now)
    found.step(0.25)
    assert found.pool.spared() == 0.25
    assert found.pool.spared() is None
    while found.pool.active:
        found.step(1.0)
        found.ready()
    found.leave()
    found.pool.scale(ReplicaSpec(min=0, max=1, idle_s=2))
    found.step(80)
    found.leave()
    found.step(1)
    found.clients.knock(found.now)
    found.step()
    found.now += 0.5
    assert found.ready() == 0.5


def test_pool_nobody_waits_any_more_once_somebody_serves(world):
    found = world(min=1, max=1)
    found.step()
    found.ready()
    found.pool._called = found.now  # what serves has taken whoever it was
    found.step(1)
    assert found.pool.answers(found.now + 60) is None
