"""The controller with real replicas: from zero, switches, crashes, restarts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import threading
from dataclasses import replace

import pytest

from volant.domain.deployment import RevisionStatus
from volant.domain.loop import ReplicaSpec
from volant.errors import Conflict, InvalidInput, StepFailed

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
ALWAYS = ReplicaSpec(min=1, max=1)


def ask(wire, port, model="m"):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        status, _, body = wire.http(client, wire.post(f"/v2/models/{model}/infer", BODY))
        assert status == 200, body
        return json.loads(body)


def test_serving_deploys_answers_goes_to_zero_and_comes_back(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    desk = platform.desk
    desk.ensure("m", "m", ReplicaSpec(min=0, max=1, idle_s=1.0))
    revision = desk.deploy("m", "m", 1, key="r1:deploy")
    assert revision.status is RevisionStatus.LIVE
    assert ask(wire, platform.port("m"))["model_version"] == "1"
    wait_until(lambda: not platform.status("m")["replicas"])
    assert platform.status("m")["status"] == "idle"
    assert ask(wire, platform.port("m"))["outputs"][0]["data"] == ["high"]
    wait_until(lambda: platform.status("m")["requests"] == 2)


def test_serving_same_key_same_version_and_other_model(platform, models):
    platform.register("m", models("numeric"), "r1")
    first = platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec())
    assert platform.desk.deploy("m", "m", 1, key="k") == first
    assert platform.desk.deploy("m", "m", 1, key="another") == first
    platform.register("n", models("numeric"), "r2")
    with pytest.raises(Conflict, match="serves the model 'm'"):
        platform.desk.deploy("m", "n", 1, key="x")
    with pytest.raises(InvalidInput):
        platform.desk.ensure("m", "m", ReplicaSpec(min=3, max=1))


def test_serving_records_event_and_decision_once(platform, models):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec())
    decisions, _ = platform.store.decisions.page(10, loop="m")
    assert [(d.outcome.value, d.run_id) for d in decisions] == [("activated", "run-1")]
    events, _ = platform.store.events.page(10, subject="deployment/m")
    assert [e.type for e in events] == ["volant.deployment.activated"]
    assert platform.store.models.champion("m").version == 1


def test_serving_fifty_clients_from_zero_lose_nothing(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec(0, 1, idle_s=1.0))
    wait_until(lambda: not platform.status("m")["replicas"])
    port, answers = platform.port("m"), []
    threads = [threading.Thread(target=lambda: answers.append(ask(wire, port))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a["model_version"] for a in answers] == ["1"] * 50


def test_serving_switches_under_load_without_a_failed_request(platform, models, load, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ALWAYS)
    traffic = load(platform.port("m"), "m", 16)
    for version in range(2, 8):
        before = traffic.total()
        wait_until(lambda before=before: traffic.total() > before + 200)
        folder = models("shifted" if version % 2 == 0 else "numeric")
        assert platform.register("m", folder, f"r{version}") == version
        platform.desk.deploy("m", "m", version, key=f"k{version}")
        wait_until(lambda version=version: str(version) in traffic.answers)
    traffic.stop()
    assert traffic.failures == []
    assert set(traffic.answers) == {str(v) for v in range(1, 8)}
    wait_until(lambda: len(platform.status("m")["replicas"]) == 1)


def test_serving_survives_kill_under_load(platform, models, load, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ALWAYS)
    traffic = load(platform.port("m"), "m", 8)
    for _ in range(2):
        wait_until(lambda: platform.status("m")["status"] == "serving")
        pid = platform.status("m")["replicas"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        before = traffic.total()
        wait_until(
            lambda pid=pid: [r["pid"] for r in platform.status("m")["replicas"]] not in ([], [pid])
        )
        wait_until(lambda before=before: traffic.total() > before + 100)
    traffic.stop()
    # What a killed process held is lost and no more: one request a client and kill.
    assert len(traffic.failures) <= 2 * 8


def test_serving_keeps_the_champion_when_the_next_model_wont_load(platform, models, wire, tmp_path):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ReplicaSpec())
    platform.register("m", models("shifted"), "r2", files={"volant.json": "0" * 64})
    with pytest.raises(StepFailed, match="was altered") as failed:
        platform.desk.deploy("m", "m", 2, key="k2")
    with pytest.raises(StepFailed) as again:
        platform.desk.deploy("m", "m", 2, key="k2")
    assert again.value.what == failed.value.what
    assert ask(wire, platform.port("m"))["model_version"] == "1"
    decisions, _ = platform.store.decisions.page(1, loop="m")
    assert decisions[0].outcome.value == "failed"
    assert "Version 1 serves on" in decisions[0].reason
    platform.register("m", models("shifted"), "r3")
    shutil.rmtree(tmp_path / "artifacts/models/m/r3")
    with pytest.raises(StepFailed, match="no artifacts at"):
        platform.desk.deploy("m", "m", 3, key="k3")


def test_serving_restart_restores_live_and_takes_up_pending(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ReplicaSpec())
    port = platform.port("m")
    platform.end()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    platform.register("m", models("shifted"), "r2")
    with pytest.raises(StepFailed, match="had no traffic within"):
        platform.desk.deploy("m", "m", 2, key="k2", timeout_s=0.1)
    platform.begin()
    assert platform.port("m") == port
    # Asked before or after the switch, somebody answers.
    wait_until(lambda: platform.controller.view("m") is not None)
    assert ask(wire, port)["model_version"] in ("1", "2")
    assert platform.desk.deploy("m", "m", 2, key="k2").status is RevisionStatus.LIVE
    # The old replica may still take a connection until it has heard that it is replaced.
    wait_until(lambda: ask(wire, port)["model_version"] == "2")


def test_serving_port_in_use_is_told_and_harms_nobody_else(platform, models, wire, wait_until):
    for name in ("m", "n"):
        platform.register(name, models("numeric"), f"r-{name}")
        platform.desk.deploy(name, name, 1, key="k", replicas=ReplicaSpec(0, 1, idle_s=1.0))
    platform.end()
    with socket.create_server(("127.0.0.1", platform.port("m"))):
        platform.begin()
        wait_until(lambda: platform.status("m")["status"] == "failing")
        assert "in use by another process" in platform.status("m")["reason"]
        assert ask(wire, platform.port("n"), "n")["model_name"] == "n"
    wait_until(lambda: platform.status("m")["status"] != "failing")
    assert ask(wire, platform.port("m"))["model_name"] == "m"


def test_serving_delete_drains_and_closes(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ALWAYS)
    port = platform.port("m")
    platform.desk.delete("m")
    wait_until(lambda: platform.controller.view("m") is None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert platform.desk.list() == []


def test_serving_scales_out_and_in(platform, models, load, wait_until):
    platform.register("m", models("numeric"), "r1")
    spec = ReplicaSpec(min=1, max=3, idle_s=60)
    platform.desk.deploy("m", "m", 1, key="k", replicas=spec)
    traffic = load(platform.port("m"), "m", 40)
    wait_until(lambda: len(platform.status("m")["replicas"]) >= 2)
    wait_until(lambda: sum(1 for r in platform.status("m")["replicas"] if r["requests"] > 0) >= 2)
    traffic.stop()
    assert traffic.failures == []
    platform.desk.ensure("m", "m", replace(spec, max=1))
    wait_until(lambda: len(platform.status("m")["replicas"]) == 1)


def test_serving_tokens_reach_running_replicas(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ALWAYS)

    def status(*headers):
        with socket.create_connection(("127.0.0.1", platform.port("m")), timeout=20) as client:
            return wire.http(client, wire.post("/v2/models/m/infer", BODY, *headers))[0]

    assert status() == 200
    platform.tokens = [hashlib.sha256(b"one").hexdigest()]
    platform.controller.wake()
    wait_until(lambda: status() == 401)
    assert status("Authorization: Bearer one") == 200


def test_serving_crash_loop_is_told(platform, models, wire, wait_until, tmp_path):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ALWAYS)
    (tmp_path / "artifacts/models/m/r1/model.onnx").write_bytes(b"rotten")
    os.kill(platform.status("m")["replicas"][0]["pid"], signal.SIGKILL)
    wait_until(lambda: "times in a row" in (platform.status("m")["reason"] or ""))
    status = platform.status("m")
    assert status["status"] == "failing"
    assert "model.onnx was altered" in status["reason"]
    wait_until(lambda: "3 times" in (platform.status("m")["reason"] or ""))
    with socket.create_connection(("127.0.0.1", platform.port("m")), timeout=20) as client:
        code, headers, body = wire.http(client, wire.post("/v2/models/m/infer", BODY))
    assert (code, "retry-after" in headers) == (503, True)
    assert "model.onnx was altered" in json.loads(body)["error"]
