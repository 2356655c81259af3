"""A rollout's step over a restart: it goes on after an orderly end, and only then."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from volant.domain.loop import RolloutSpec

loaded = importlib.util.spec_from_file_location(
    "rollout_world", Path(__file__).with_name("rollout_world.py")
)
rollout_world = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(rollout_world)


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "rollouts.kept"


@pytest.fixture
def world(store, kept):
    """Half of the canary's step is over: 15 of its requests came, 3 of them failed."""
    made = rollout_world.World(store)
    made.restart(kept)
    made.live()
    made.live(RolloutSpec(canary=(10.0, 50.0), bake_s=60.0, error_rate=0.05))
    made.fleet.answers("m", 2, 15, failed=3)
    made.clock.pass_(30)
    made.rollout.turn()
    return made


def again(world, kept):
    """An orderly end, an hour without the platform, and its next start."""
    world.rollout.keep()
    world.clock.pass_(3600)
    world.restart(kept)
    world.rollout.turn()


def test_baking_goes_on_where_it_was(world, kept):
    again(world, kept)
    assert not kept.exists()  # a crash from here on must not find it
    world.clock.pass_(29)
    world.rollout.turn()
    assert world.revision(2).percent == 10  # the hour without the platform doesn't count
    again(world, kept)
    world.clock.pass_(1)
    world.rollout.turn()
    assert world.revision(2).percent == 50


def test_baking_what_was_counted_before_counts(world, kept):
    again(world, kept)
    world.fleet.answers("m", 2, 5, failed=0)
    world.rollout.turn()
    assert world.status(2) == "aborted"
    assert "3 of 20 requests failed" in world.revision(2).reason


def test_baking_of_the_last_step_goes_on_too(world, kept):
    for _ in range(2):
        world.fleet.answers("m", 2, 100)
        world.clock.pass_(60)
        world.rollout.turn()
    assert world.status(2) == "live"
    world.fleet.answers("m", 2, 100, failed=4)
    world.rollout.turn()
    again(world, kept)
    world.fleet.answers("m", 2, 10, failed=4)
    world.rollout.turn()
    assert world.outcomes_told()[-1] == "reverted"
    assert "8 of 110 requests failed" in world.decisions()[-1].reason


def test_baking_of_what_was_aborted_by_hand_is_forgotten(world, kept):
    world.desk.abort("m", by="ann")
    world.rollout.turn()
    world.rollout.keep()
    assert not kept.exists()


@pytest.mark.parametrize("lost", ["file", "counters", "content", "another's"])
def test_baking_begins_anew_when_something_is_lost(world, kept, lost):
    world.rollout.keep()
    if lost == "file":
        kept.unlink()
    elif lost == "counters":
        world.fleet.counted.clear()
    elif lost == "content":
        kept.write_text(kept.read_text()[:100])
    else:
        (entry,) = json.loads(kept.read_text())
        entry["since"] = "2020-01-01T00:00:00+00:00"
        kept.write_text(json.dumps([entry]))
    world.restart(kept)
    world.rollout.turn()
    world.fleet.answers("m", 2, 19, failed=0)
    world.clock.pass_(59)
    world.rollout.turn()
    assert world.revision(2).percent == 10
    world.clock.pass_(1)
    world.rollout.turn()
    assert world.revision(2).percent == 50
