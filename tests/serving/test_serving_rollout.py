"""The rollout's steps over real records: canary, shadow, promotion, the ways back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from volant.domain.deployment import Settings
from volant.domain.loop import LogSpec, ReplicaSpec, RolloutSpec, StickyKey
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed

loaded = importlib.util.spec_from_file_location(
    "rollout_world", Path(__file__).with_name("rollout_world.py")
)
rollout_world = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(rollout_world)

CANARY = RolloutSpec(canary=(10.0, 50.0), bake_s=60.0, sticky=StickyKey(header="x-user"))


@pytest.fixture
def world(store):
    return rollout_world.World(store)


@pytest.fixture
def canary(world):
    """Version 1 live as revision 1, version 2 a canary at 10 % as revision 2."""
    world.live()
    assert world.live(CANARY) == 2
    assert world.status(2) == "canary"
    return world


def test_rollout_a_canary_goes_step_by_step_to_live(canary):
    world = canary
    assert world.fleet.table("m") == {1: ("live", 100.0), 2: ("canary", 10.0)}
    assert world.fleet.desired["m"].sticky == StickyKey(header="x-user")
    assert world.store.models.champion("m").version == 1
    world.fleet.answers("m", 2, 100, failed=1)
    world.clock.pass_(59)
    world.rollout.turn()
    assert world.revision(2).percent == 10
    world.clock.pass_(1)
    world.rollout.turn()
    assert world.fleet.table("m") == {1: ("live", 100.0), 2: ("canary", 50.0)}
    world.clock.pass_(60)
    world.rollout.turn()
    assert world.fleet.table("m") == {2: ("live", 100.0)}
    assert world.fleet.desired["m"].sticky is None
    assert world.store.models.champion("m").version == 2
    assert world.revision(2).since is not None  # the last bake, with all the traffic
    world.clock.pass_(60)
    world.rollout.turn()
    assert world.revision(2).since is None
    assert world.outcomes_told() == ["activated", "advanced", "advanced", "activated", "settled"]
    first, second = world.decisions()[1:3]
    assert "answers 10 % of the requests for 1m, then 50 %, then all" in first.reason
    assert second.rules[0]["requests"] == 100
    assert second.rules[0]["errors"] == 1


def test_rollout_a_shadow_comes_before_the_canary(world):
    world.live()
    world.live(RolloutSpec(shadow=100.0, canary=(20.0,), bake_s=10))
    assert world.fleet.table("m")[2] == ("shadow", 100.0)
    world.clock.pass_(10)
    world.rollout.turn()
    assert world.fleet.table("m")[2] == ("canary", 20.0)


@pytest.mark.parametrize(
    ("failed", "ms", "rule"), [(6, 1.0, "error_rate"), (0, 80.0, "p95_ms"), (9, 90.0, "error_rate")]
)
def test_rollout_a_bad_canary_is_given_up_at_once(world, failed, ms, rule):
    world.live()
    world.live(RolloutSpec(canary=(10.0,), p95_ms=50.0, min_requests=50))
    world.fleet.answers("m", 2, 49, failed=49, ms=500)
    world.rollout.turn()
    assert world.status(2) == "canary"  # too few to say anything yet
    world.restart()  # what was counted before is unknown now
    world.rollout.turn()
    world.fleet.answers("m", 2, 100, failed=failed, ms=ms)
    world.rollout.turn()
    assert world.status(2) == "aborted"
    assert world.fleet.table("m") == {1: ("live", 100.0)}
    assert ("m", 2) in world.fleet.abandoned
    last = world.decisions()[-1]
    assert (last.kind.value, last.outcome.value) == ("rollback", "aborted")
    assert rule in [r["rule"] for r in last.rules if not r["passed"]]
    assert "Version 1 serves on" in last.reason
    assert world.revision(2).reason == last.reason
    assert world.store.models.champion("m").version == 1


def test_rollout_numbers_count_from_the_steps_beginning(canary):
    world = canary
    world.fleet.answers("m", 2, 1000, failed=0)
    world.clock.pass_(60)
    world.rollout.turn()
    assert world.revision(2).percent == 50
    world.fleet.answers("m", 2, 40, failed=10)  # 1 % of all, 25 % of this step
    world.rollout.turn()
    assert world.status(2) == "aborted"


def test_rollout_without_traffic_time_alone_decides(canary):
    for _ in range(3):
        canary.clock.pass_(60)
        canary.rollout.turn()
    assert canary.status(2) == "live"
    assert canary.revision(2).since is None


@pytest.mark.parametrize(("count", "failed", "status"), [(3, 1, "canary"), (4, 2, "aborted")])
def test_rollout_few_requests_are_judged_at_the_end_only(canary, count, failed, status):
    canary.fleet.answers("m", 2, count, failed=failed)
    canary.rollout.turn()
    assert canary.revision(2).percent == 10
    canary.clock.pass_(60)
    canary.rollout.turn()
    assert canary.status(2) == status


def test_rollout_after_promotion_a_bad_version_is_taken_back(canary):
    world = canary
    for _ in range(2):
        world.clock.pass_(60)
        world.rollout.turn()
    assert world.status(2) == "live"
    world.fleet.answers("m", 2, 100, failed=50)
    world.rollout.turn()
    back = world.revision(3)
    assert (back.model_version, back.restores, back.status.value) == (1, 1, "pending")
    assert world.fleet.table("m") == {2: ("live", 100.0)}  # until the other one is ready
    world.rollout.turn()
    assert ("m", 3) in world.fleet.prepared
    world.ready(3)
    world.rollout.turn()
    assert world.fleet.table("m") == {3: ("live", 100.0)}
    assert world.store.models.champion("m").version == 1
    assert world.outcomes_told()[-2:] == ["reverted", "activated"]
    world.clock.pass_(1000)
    world.rollout.turn()
    assert world.revision(3).since is None  # what comes back isn't on trial
    assert len(world.store.revisions.page("m", 10)[0]) == 3


def test_rollout_the_first_version_goes_live_at_once(world):
    world.live(CANARY)
    assert world.status(1) == "live"
    assert world.revision(1).since is None


def test_rollout_without_steps_still_has_a_last_bake(world):
    world.live()
    world.live(RolloutSpec(bake_s=30))
    assert world.status(2) == "live"
    world.fleet.answers("m", 2, 30, failed=30)
    world.rollout.turn()
    assert world.revision(3).model_version == 1


def test_rollout_the_newest_ready_revision_wins(canary):
    world = canary
    third = world.ask(rollout=CANARY).number
    world.rollout.turn()
    assert world.status(2) == "canary"  # goes on until the new one has loaded
    world.ready(third)
    world.rollout.turn()
    assert world.status(2) == "aborted"
    assert "takes its place" in world.revision(2).reason
    assert world.fleet.table("m") == {1: ("live", 100.0), third: ("canary", 10.0)}


def test_rollout_a_newer_one_that_cant_load_disturbs_nothing(canary):
    world = canary
    third = world.ask(rollout=CANARY).number
    world.rollout.turn()
    world.ready(third, "It is broken.")
    world.rollout.turn()
    assert world.status(third) == "failed"
    assert world.status(2) == "canary"


def test_rollout_the_same_version_again_is_the_same_revision(canary):
    world = canary
    before = world.outcomes_told()
    assert world.ask(1, key="another").number == 1
    assert world.ask(2, CANARY, key="yet another", by="ann").number == 2
    assert world.outcomes_told() == before
    assert len(world.store.revisions.page("m", 9)[0]) == 2


def test_rollout_deploying_waits_for_the_first_traffic_only(canary):
    assert canary.desk.deploy("m", "m", 2, key="x").percent == 10


def test_rollout_deploying_what_was_superseded_says_so(world):
    world.live()
    first = world.ask(key="k")
    second = world.ask()
    world.rollout.turn()
    world.ready(second.number)
    world.rollout.turn()
    assert world.status(first.number) == "aborted"
    with pytest.raises(Conflict, match="takes its place"):
        world.desk.deploy("m", "m", first.model_version, key="k")
    world.ask(key="late")
    with pytest.raises(StepFailed, match="had no traffic within"):
        world.desk.deploy("m", "m", 4, key="late", timeout_s=0.01)


def test_rollout_the_settings_of_the_deployment_hold_unless_told(world):
    settings = Settings(rollout=CANARY)
    world.register()
    world.desk.ensure("m", "m", ReplicaSpec(), settings)
    world.ask(1, None)
    assert world.revision(1).rollout == CANARY
    world.desk.ensure("m", "m", ReplicaSpec(max=2))
    assert world.store.deployments.get("m").settings == settings
    assert world.ask(None, "now").rollout is None


def test_rollout_kept_versions_stay_reachable(world):
    world.live(replicas=ReplicaSpec())
    world.desk.ensure("m", "m", ReplicaSpec(), Settings(keep=2))
    for _ in range(4):
        world.live()
    assert world.fleet.table("m") == {
        5: ("live", 100.0),
        4: ("held", 0.0),
        3: ("held", 0.0),
    }
    world.artifacts.gone.add(world.revision(4).model_uri)
    world.restart()
    world.rollout.turn()
    assert set(world.fleet.table("m")) == {5, 3, 2}


def test_rollout_a_canary_whose_files_are_gone_is_given_up(canary):
    canary.artifacts.gone.add(canary.revision(2).model_uri)
    canary.restart()
    canary.rollout.turn()
    assert canary.status(2) == "aborted"
    assert "can't be started" in canary.revision(2).reason


# by hand


def test_steering_promotes(canary):
    found = canary.desk.promote("m", by="ann", reason="looks good.")
    assert found.status.value == "live"
    last = canary.decisions()[-1]
    assert last.reason == (
        "ann promoted revision 2 (version 2 of m), as a canary at 10 %, over version 1."
        " Reason: looks good."
    )
    assert last.details["by"] == "ann"
    with pytest.raises(Conflict, match="no canary"):
        canary.desk.promote("m", by="ann")
    canary.rollout.turn()
    assert canary.fleet.table("m") == {2: ("live", 100.0)}


def test_steering_aborts_whatever_is_on_its_way(canary):
    assert canary.desk.abort("m", by="ann").status.value == "aborted"
    canary.rollout.turn()
    assert canary.fleet.table("m") == {1: ("live", 100.0)}
    waiting = canary.ask(by="bob")
    assert canary.desk.abort("m", by="ann").number == waiting.number
    with pytest.raises(Conflict, match="on its way"):
        canary.desk.abort("m", by="ann")
    assert canary.outcomes_told()[-2:] == ["accepted", "aborted"]
    assert canary.decisions()[-2].details["revision"] == waiting.number


def test_steering_rolls_back_further_each_time(world):
    for _ in range(3):
        world.live()

    def rolled_back(**more):
        number = world.desk.rollback("m", by="ann", **more).number
        world.rollout.turn()
        world.ready(number)
        world.rollout.turn()
        return world.store.deployments.get("m").live_version

    assert rolled_back() == 2
    assert rolled_back() == 1
    with pytest.raises(Conflict, match="served no other"):
        world.desk.rollback("m", by="ann")
    assert rolled_back(to="v3") == 3
    assert world.store.models.champion("m").version == 3
    with pytest.raises(Conflict, match="live already"):
        world.desk.rollback("m", by="ann", to="v3")
    with pytest.raises(NotFound, match="never live"):
        world.desk.rollback("m", by="ann", to="9")
    with pytest.raises(InvalidInput, match="neither"):
        world.desk.rollback("m", by="ann", to="x")
    assert rolled_back(to="1") == 1


def test_steering_asking_to_roll_back_twice_is_once(world):
    world.live()
    world.live()
    first = world.desk.rollback("m", by="ann", key="k")
    assert world.desk.rollback("m", by="ann", key="k", to="v1").number == first.number
    assert world.desk.rollback("m", by="ann").number == first.number  # on its way already
    assert world.status(first.number) == "pending"


def test_steering_rolling_back_a_canary_aborts_it(canary):
    assert canary.desk.rollback("m", by="ann").number == 2
    assert canary.status(2) == "aborted"


def test_steering_scales_and_deletes(world):
    world.live()
    found = world.desk.scale("m", {"max": 4, "spares": 1}, by="ann")
    assert (found["limits"]["max"], found["limits"]["spares"]) == (4, 1)
    with pytest.raises(InvalidInput, match="don't go together"):
        world.desk.scale("m", {"min": 9}, by="ann")
    with pytest.raises(InvalidInput, match="Nothing to change"):
        world.desk.scale("m", {}, by="ann")
    world.desk.delete("m", by="ann")
    assert world.desk.list() == []
    reasons = [d.reason for d in world.decisions()][-2:]
    assert reasons == ["ann scaled m: max 4, spares 1.", "ann deleted the deployment m."]
    world.live()
    assert world.outcomes_told()[-1] == "activated"


def test_steering_changes_what_is_logged_and_kept(world):
    world.live()
    world.desk.load("m", loaded=False, by="ann")
    found = world.desk.set("m", {"log": "off", "keep": 2}, by="ann")
    assert found["settings"] == {"rollout": None, "keep": 2, "log": None, "loaded": False}
    found = world.desk.set("m", {"log": {"sample": 0.5}}, by="ann")
    assert found["settings"]["log"] == {"sample": 0.5, "max_bytes": 10**9}
    world.desk.set("m", {"log": {"max_bytes": 2**20}}, by="ann")
    with pytest.raises(InvalidInput, match="log's bound is 1MiB"):
        world.desk.set("m", {"log": {"max_bytes": 1000}}, by="ann")
    stored = Settings(keep=2, log=LogSpec(0.5, 2**20), loaded=False)
    assert world.store.deployments.get("m").settings == stored
    reasons = [d.reason for d in world.decisions()][-3:]
    assert reasons == [
        "ann changed m: log off, keep 2.",
        "ann changed m: log sample 0.5.",
        "ann changed m: log max_bytes 1048576.",
    ]


def test_desk_deploying_changes_limits_and_settings_too(world):
    world.register()
    world.desk.request("m", "m", 1, changes={"memory_bytes": 2**30}, settings={"log": "off"})
    world.desk.request("m", "m", 1, settings={"keep": 1})
    stored = world.store.deployments.get("m")
    assert stored.replicas == ReplicaSpec(memory_bytes=2**30)
    assert stored.settings == Settings(keep=1, log=None)
    for _ in range(2):  # told once
        world.desk.request("m", "m", 1, changes={"memory_bytes": None, "max": 2}, by="ann")
    stored = world.store.deployments.get("m")
    assert (stored.replicas, stored.settings.keep) == (ReplicaSpec(max=2), 1)
    reasons = [d.reason for d in world.decisions()]
    assert reasons.count("ann scaled m: memory_bytes none, max 2.") == 1


def test_desk_two_changes_at_once_lose_nothing(world, monkeypatch):
    world.register()
    world.desk.request("m", "m", 1)
    change, between = world.store.deployments.change, [{"keep": 3}]

    def slow(*args):
        if between:
            world.desk.set("m", between.pop(), by="bob")
        return change(*args)

    monkeypatch.setattr(world.store.deployments, "change", slow)
    world.desk.set("m", {"log": "off"}, by="ann")
    assert world.store.deployments.get("m").settings == Settings(keep=3, log=None)
    told = [d.reason for d in world.decisions()][-2:]
    assert told == ["bob changed m: keep 3.", "ann changed m: log off."]


def test_steering_names_that_cant_be_are_refused(world):
    world.register()
    for name in ("", "../x", "A", "a" * 64):
        with pytest.raises(InvalidInput, match="can't be a deployment's name"):
            world.desk.request(name, "m", 1)


@pytest.mark.parametrize(
    "spec",
    [
        RolloutSpec(canary=(100.0,)),
        RolloutSpec(canary=(0.0,)),
        RolloutSpec(canary=(50.0, 10.0)),
        RolloutSpec(shadow=101),
        RolloutSpec(bake_s=-1),
        RolloutSpec(error_rate=2),
        RolloutSpec(p95_ms=0),
        RolloutSpec(p95_ms=float("inf")),
        RolloutSpec(min_requests=0),
        RolloutSpec(sticky=StickyKey()),
        RolloutSpec(sticky=StickyKey("a", "b")),
    ],
)
def test_stages_a_rollout_that_cant_be_is_refused(world, spec):
    world.register()
    with pytest.raises(InvalidInput, match="can't be"):
        world.desk.request("m", "m", 1, rollout=spec)


def test_steering_the_newest_version_unless_its_gate_refused_it(world):
    from volant.domain.model import Stage

    world.register()
    assert world.desk.request("m", "m", None).model_version == 1
    world.register(stage=Stage.REFUSED)
    with pytest.raises(Conflict, match="refused by its gate"):
        world.desk.request("m", "m", None)
    assert world.desk.request("m", "m", 2, by="ann").model_version == 2
