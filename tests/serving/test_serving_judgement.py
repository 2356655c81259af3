"""What a rollout's step is judged by, also while requests are still under way."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from volant.domain.loop import RolloutSpec
from volant.serving.judgement import LATE_S, judge
from volant.serving.latency import BUCKETS
from volant.serving.snapshot import Snapshot, Window
from volant.serving.trouble import Trouble

loaded = importlib.util.spec_from_file_location(
    "rollout_world", Path(__file__).with_name("rollout_world.py")
)
rollout_world = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(rollout_world)

SPEC = RolloutSpec(bake_s=60, min_requests=5, error_rate=0.05)
FAST = RolloutSpec(bake_s=60, min_requests=5, error_rate=0.05, p95_ms=100)
DYING = Trouble(3, "Its process crashed (SIGSEGV).", hopeless=True)


def counted(answered=0, *waiting, **more):
    """So many answers of 10 µs or less, and requests that wait."""
    latency = (answered, *[0] * (BUCKETS - 1))
    return Window(Snapshot(answered=answered, latency=latency, waiting=waiting, **more), 60.0)


@pytest.mark.parametrize("lost", [5, 3804])
def test_judgement_requests_that_nobody_answered_are_errors(lost):
    found = judge(SPEC, counted(lost=lost), over_s=-59)
    assert f"{lost} of {lost} requests failed" in found.broken


@pytest.mark.parametrize("over_s", [-59, 0])
def test_judgement_what_waits_longer_than_the_limit_is_slow(over_s):
    found = judge(FAST, counted(2, *[0.2] * 4), over_s=over_s)
    assert "the limit is 100 ms (4 requests still wait)" in found.broken
    assert judge(FAST, counted(2, *[0.05] * 4), over_s=over_s).broken is None
    assert judge(FAST, counted(200, *[0.2] * 4), over_s=over_s).broken is None  # 2 % may be


def test_judgement_what_waits_for_long_has_failed():
    found = judge(SPEC, counted(15, LATE_S), over_s=-1)
    assert "1 of 16 requests failed" in found.broken
    assert found.rules[0]["errors"] == 1
    assert judge(SPEC, counted(15, LATE_S - 1), over_s=-1).broken is None
    slow = RolloutSpec(bake_s=60, min_requests=5, p95_ms=LATE_S * 2000)
    assert judge(slow, counted(15, LATE_S * 1.5), over_s=-1).broken is None  # it may take that


def test_judgement_nothing_goes_on_before_it_is_known_how_requests_end():
    asked = counted(0, 0.1)  # the first one came just now
    assert judge(SPEC, asked, over_s=0).early
    assert judge(SPEC, counted(50, *[1.5] * 8), over_s=0).early
    assert not judge(SPEC, counted(50, *[0.5] * 8), over_s=0).early  # as is usual
    assert not judge(SPEC, counted(50, 1.5), over_s=0).early  # even if that one fails
    assert not judge(SPEC, counted(), over_s=0).early  # time alone decides
    # Such that take their time don't hold it up for ever.
    assert not judge(SPEC, counted(50, *[1.5] * 8), over_s=LATE_S).early


def test_judgement_a_version_that_answers_nobody_is_given_up():
    """Its clients don't wait for long enough to be late: they give up, and ask again."""
    given_up = counted(0, 2.0, 0.1)
    assert judge(SPEC, given_up, over_s=LATE_S - 1).broken is None
    assert "2 of 2 requests failed" in judge(SPEC, given_up, over_s=LATE_S).broken


def test_judgement_replicas_that_dont_last_break_it():
    found = judge(SPEC, counted(), over_s=-59, trouble=DYING)
    assert found.broken == "its replica ended 3 times in a row: Its process crashed (SIGSEGV)"
    once = judge(SPEC, counted(), over_s=0, trouble=Trouble(1, "It ended.", hopeless=False))
    assert once.broken is None
    assert once.early


def test_judgement_copies_that_werent_sent_are_told():
    found = judge(SPEC, counted(dropped=7), over_s=0)
    assert found.rules[1]["reason"].endswith("; 7 copies weren't sent")


# what the rollout does with it


@pytest.fixture
def world(store):
    made = rollout_world.World(store)
    made.live()
    return made


def test_judgement_a_canary_that_never_answers_isnt_promoted(world):
    world.live(RolloutSpec(canary=(30.0,), bake_s=10, min_requests=5))
    world.fleet.waits("m", 2, *[9.0] * 8)
    world.clock.pass_(10)
    world.rollout.turn()
    assert world.status(2) == "canary"
    world.fleet.waits("m", 2, *[LATE_S] * 8)
    world.rollout.turn()
    assert world.status(2) == "aborted"
    assert "8 of 8 requests failed" in world.revision(2).reason


def test_judgement_a_canary_with_a_limit_is_given_up_at_once(world):
    world.live(RolloutSpec(canary=(30.0,), bake_s=10, min_requests=5, p95_ms=100))
    world.fleet.waits("m", 2, *[0.5] * 8)
    world.rollout.turn()
    assert world.status(2) == "aborted"
    assert not world.decisions()[-1].rules[1]["passed"]


def test_judgement_a_shadow_that_never_answers_isnt_promoted(world):
    world.live(RolloutSpec(shadow=100.0, bake_s=10, min_requests=5))
    world.fleet.waits("m", 2, *[9.0] * 8)
    world.clock.pass_(10)
    world.rollout.turn()
    assert world.status(2) == "shadow"


def test_judgement_a_live_version_whose_replicas_die_is_taken_back(world):
    world.live(RolloutSpec(bake_s=40))
    world.fleet.troubles["m", 2] = Trouble(1, "It ended.", hopeless=False)
    world.clock.pass_(40)
    world.rollout.turn()
    assert world.revision(2).since is not None  # not settled
    world.fleet.troubles["m", 2] = DYING
    world.rollout.turn()
    assert world.outcomes_told()[-1] == "reverted"
    assert world.revision(3).model_version == 1


def test_judgement_a_replica_that_lasts_lets_the_rollout_go_on(world):
    world.live(RolloutSpec(bake_s=40))
    world.fleet.troubles["m", 2] = Trouble(1, "It ended.", hopeless=False)
    world.clock.pass_(40)
    world.rollout.turn()
    world.fleet.troubles.clear()
    world.rollout.turn()
    assert world.outcomes_told()[-1] == "settled"
