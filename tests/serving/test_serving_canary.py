"""Rollouts with real replicas: shares, sticky keys, the ways back, without a lost request."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket

import pytest

from volant.domain.deployment import Settings
from volant.domain.loop import ReplicaSpec, RolloutSpec, StickyKey

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
ALWAYS = ReplicaSpec(min=1, max=1)


def versions(wire, port, count, *headers, path="/v2/models/m/infer"):
    """The version that answered each of `count` requests, on one connection as long as
    its replica keeps it."""
    found = []
    while len(found) < count:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            rest = bytearray()
            while len(found) < count:
                client.sendall(wire.post(path, BODY, *headers))
                status, said, body = wire.read_answer(client, rest=rest)
                assert status == 200, body
                found.append(json.loads(body)["model_version"])
                if said.get("connection") == "close":
                    break
    return found


def asked(wire, port, path):
    """The status of one request's answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(wire.post(path, BODY))
        return wire.read_answer(client)[0]


@pytest.fixture
def served(platform, models):
    """Version 1 of m is live; version 2 is registered."""
    platform.register("m", models("numeric"), "r1")
    platform.register("m", models("shifted"), "r2")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ALWAYS)
    return platform


def rolling(platform):
    return platform.status("m")["rolling"]


def live(platform):
    return platform.store.deployments.get("m").live_version


def outcomes(platform):
    return [d.outcome.value for d in reversed(platform.store.decisions.page(50, loop="m")[0])]


def test_canary_takes_its_share_and_keys_stay(served, wire, wait_until):
    spec = RolloutSpec(canary=(20.0, 80.0), bake_s=3600, sticky=StickyKey(header="x-user"))
    revision = served.desk.deploy("m", "m", 2, key="k2", rollout=spec)
    assert (revision.status.value, revision.percent) == ("canary", 20.0)
    port = served.port("m")
    wait_until(lambda: "2" in versions(wire, port, 50))
    count = versions(wire, port, 1000).count("2")
    assert 120 < count < 290  # 20 % of 1000, six standard deviations either way
    users = {f"u{i}": versions(wire, port, 3, f"X-User: u{i}") for i in range(100)}
    assert all(len(set(found)) == 1 for found in users.values())
    with_canary = {user for user, found in users.items() if found[0] == "2"}
    assert 5 < len(with_canary) < 45
    assert set(versions(wire, port, 3, path="/v2/models/m/versions/2/infer")) == {"2"}
    wait_until(lambda: served.desk.revision("m", 2)["numbers"]["requests"] > count)
    assert live(served) == 1
    served.desk.promote("m", by="ann")
    wait_until(lambda: set(versions(wire, port, 20)) == {"2"})
    assert served.store.models.champion("m").version == 2


def test_canary_goes_live_by_time_under_load_without_a_failed_request(served, load, wait_until):
    traffic = load(served.port("m"), "m", 8)
    spec = RolloutSpec(canary=(10.0, 50.0), bake_s=0.4)
    served.desk.deploy("m", "m", 2, key="k2", rollout=spec)
    wait_until(lambda: live(served) == 2)
    wait_until(lambda: "settled" in outcomes(served))
    before = traffic.total()
    wait_until(lambda: traffic.total() > before + 100)
    traffic.stop()
    assert traffic.failures == []
    assert set(traffic.answers) == {"1", "2"}
    assert outcomes(served) == ["activated", "advanced", "advanced", "activated", "settled"]


def test_canary_shadow_is_asked_and_never_heard(served, wire, wait_until):
    served.desk.deploy("m", "m", 2, key="k2", rollout=RolloutSpec(shadow=100.0, bake_s=3600))
    port = served.port("m")

    def copied():
        assert set(versions(wire, port, 20)) == {"1"}
        return (served.desk.revision("m", 2)["numbers"] or {}).get("requests", 0) >= 20

    wait_until(copied)
    assert rolling(served)["status"] == "shadow"


def test_canary_that_fails_is_given_up_by_itself(served, wire, wait_until, tmp_path):
    spec = RolloutSpec(canary=(50.0,), bake_s=3600, error_rate=0.1, min_requests=10)
    served.desk.deploy("m", "m", 2, key="k2", rollout=spec)
    port = served.port("m")
    wait_until(lambda: "2" in versions(wire, port, 20))
    shutil.rmtree(tmp_path / "artifacts/models/m/r2")  # it can't be started any more
    for replica in served.status("m")["replicas"]:
        if replica["revision"] == 2:
            os.kill(replica["pid"], signal.SIGKILL)

    def given_up():
        versions(wire, port, 20)  # the live one answers what the canary can't
        return served.store.revisions.get("m", 2).status.value == "aborted"

    wait_until(given_up)
    assert live(served) == 1
    assert set(versions(wire, port, 20)) == {"1"}
    last = served.store.decisions.page(1, loop="m")[0][0]
    assert last.outcome.value == "aborted"
    assert last.rules[0]["errors"] > 0


def test_canary_aborted_and_rolled_back_by_hand(served, wire, wait_until):
    served.desk.deploy("m", "m", 2, key="k2", rollout=RolloutSpec(canary=(50.0,), bake_s=3600))
    port = served.port("m")
    wait_until(lambda: "2" in versions(wire, port, 20))
    served.desk.abort("m", by="ann")
    wait_until(lambda: set(versions(wire, port, 30)) == {"1"})
    served.desk.deploy("m", "m", 2, key="k3", rollout="now")
    wait_until(lambda: set(versions(wire, port, 5)) == {"2"})
    served.desk.rollback("m", by="ann", reason="worse")
    wait_until(lambda: live(served) == 1)
    wait_until(lambda: set(versions(wire, port, 5)) == {"1"})


def test_canary_outlives_a_restart(served, wire, wait_until):
    served.desk.deploy("m", "m", 2, key="k2", rollout=RolloutSpec(canary=(50.0,), bake_s=3600))
    wait_until(lambda: set(versions(wire, served.port("m"), 30)) == {"1", "2"})
    before = served.desk.revision("m", 2)["numbers"]["requests"]
    kept = served.home / "run" / "rollouts.kept"
    served.end()
    assert kept.exists()  # where the step stands
    served.begin()
    assert not kept.exists()
    wait_until(lambda: served.controller.view("m") is not None)
    wait_until(lambda: set(versions(wire, served.port("m"), 30)) == {"1", "2"})
    assert rolling(served)["percent"] == 50
    assert served.desk.revision("m", 2)["numbers"]["requests"] > before > 0


def test_canary_an_earlier_version_is_kept(served, wire, wait_until):
    served.desk.ensure("m", "m", ALWAYS, Settings(keep=1))
    served.desk.deploy("m", "m", 2, key="k2")
    port = served.port("m")
    wait_until(lambda: set(versions(wire, port, 3)) == {"2"})
    earlier = "/v2/models/m/versions/1/infer"
    wait_until(lambda: asked(wire, port, earlier) == 200)  # it starts after the switch
    assert versions(wire, port, 2, path=earlier) == ["1", "1"]
