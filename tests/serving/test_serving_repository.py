"""The model repository: a model that is unloaded stays so until it is loaded again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket

import grpc
import pytest
from tests.serving.grpc_client import ROWS

from volant.domain.deployment import RevisionStatus
from volant.domain.loop import ReplicaSpec, RolloutSpec
from volant.errors import PermissionDenied

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
UNLOAD, LOAD = "/v2/repository/models/m/unload", "/v2/repository/models/m/load"
INFER = "/v2/models/m/infer"


@pytest.fixture
def asked(platform, wire):
    """Ask the deployment `m` on a fresh connection: status, headers, JSON."""

    def ask(path, payload=None, *headers):
        with socket.create_connection(("127.0.0.1", platform.port("m")), timeout=60) as client:
            get = f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
            raw = get if payload is None else wire.post(path, payload, *headers)
            status, head, body = wire.http(client, raw)
            return status, head, json.loads(body)

    return ask


@pytest.fixture
def deployed(platform, models):
    def deploy(**spec):
        platform.register("m", models("numeric"), "r1")
        replicas = ReplicaSpec(**{"min": 0, "max": 1, "idle_s": 600, **spec})
        return platform.desk.deploy("m", "m", 1, key="r1:deploy", replicas=replicas)

    return deploy


def with_model(platform):
    return [r for r in platform.status("m")["replicas"] if r["state"] != "unloaded"]


def test_serving_unload_stays_until_load(platform, deployed, asked, wait_until):
    deployed()
    assert asked(INFER, BODY)[0] == 200
    (before,) = platform.status("m")["replicas"]
    assert asked(UNLOAD, {"parameters": {"unload_dependents": False}})[::2] == (200, {})
    wait_until(lambda: not with_model(platform))
    for path, payload in ((INFER, BODY), ("/v1/models/m:predict", {}), ("/v2/models/m", None)):
        status, _, body = asked(path, payload)
        assert status == 503
        assert "isn't loaded" in body["error"]
        assert LOAD in body["error"]
    assert asked("/v2/health/live")[::2] == (200, {"live": True})
    assert asked("/v2/health/ready")[::2] == (503, {"ready": False})
    assert asked("/v2/models/m/ready")[0] == 503
    unavailable = {"name": "m", "version": "1", "state": "UNAVAILABLE"}
    assert asked("/v2/repository/index", {})[2] == [{**unavailable, "reason": "It was unloaded."}]
    assert asked("/v2/repository/index", {"ready": True})[2] == []
    assert asked("/v2/models/m/versions/9/infer", BODY)[0] == 404
    assert asked("/v2/repository/models/other/load", {})[0] == 404
    assert platform.status("m")["status"] == "unloaded"
    assert platform.status("m")["errors"] == 0
    assert asked("/v1/models/m")[2]["model_version_status"][0]["state"] == "END"
    assert asked(UNLOAD, {})[0] == 200  # again is fine
    assert asked(LOAD, {"parameters": {"config": "{}"}})[0] == 400

    assert asked(LOAD, {})[::2] == (200, {})
    assert asked("/v2/health/ready")[0] == 200
    assert asked(INFER, BODY)[0] == 200
    assert asked("/v2/repository/index", {})[2][0]["state"] == "READY"
    wait_until(lambda: [r["state"] for r in platform.status("m")["replicas"]] == ["ready"])
    assert platform.status("m")["replicas"][0]["pid"] != before["pid"]
    events, _ = platform.store.events.page(10, subject="deployment/m")
    assert [e.type.rpartition(".")[2] for e in events] == ["loaded", "unloaded", "activated"]


def test_serving_unload_ends_all_replicas_spares_too(platform, deployed, asked, wait_until):
    deployed(min=2, max=2, spares=1)
    wait_until(lambda: len(platform.status("m")["replicas"]) == 3)
    with socket.create_connection(("127.0.0.1", platform.port("m")), timeout=60) as idle:
        assert asked(UNLOAD, {})[0] == 200
        wait_until(lambda: not platform.status("m")["replicas"])
        assert idle.recv(100) == b""
    assert asked(LOAD, {})[0] == 200
    wait_until(lambda: len(with_model(platform)) == 3)


def test_serving_a_kept_connection_is_told_of_the_unload(platform, deployed, asked, wire):
    deployed()
    with socket.create_connection(("127.0.0.1", platform.port("m")), timeout=60) as kept:
        assert wire.http(kept, wire.post(INFER, BODY))[0] == 200
        assert asked(UNLOAD, {})[0] == 200
        try:
            status, head, _ = wire.http(kept, wire.post(INFER, BODY))
        except OSError:  # it was closed meanwhile
            return
        assert (status, head["connection"]) == (503, "close")


def test_serving_what_runs_at_the_unload_is_answered(platform, deployed, asked, load, wait_until):
    deployed(min=1)
    traffic = load(platform.port("m"), "m", 8)
    wait_until(lambda: traffic.total() > 200)
    assert asked(UNLOAD, {})[0] == 200
    wait_until(lambda: len(traffic.failures) >= 8)
    traffic.stop()
    # Those that were under way are answered; whoever comes later is told why.
    assert [e for e in traffic.failures if "loaded. It was unloaded." not in e] == []


def test_serving_unloaded_outlives_restarts_and_deploys(
    platform, deployed, models, asked, wait_until
):
    deployed(min=1)
    assert asked(UNLOAD, {})[0] == 200
    platform.end()
    platform.begin()
    wait_until(lambda: platform.status("m")["status"] == "unloaded")
    assert asked(INFER, BODY)[0] == 503
    platform.register("m", models("shifted"), "r2")
    revision = platform.desk.deploy("m", "m", 2, key="r2:deploy", replicas=ReplicaSpec(min=1))
    assert revision.status is RevisionStatus.LIVE  # it was tried, and is next
    wait_until(lambda: not with_model(platform))
    status, _, body = asked("/v2/models/m/versions/2/infer", BODY)
    assert (status, "isn't loaded" in body["error"]) == (503, True)
    assert platform.desk.load("m", loaded=True, by="kim")["name"] == "m"
    wait_until(lambda: asked(INFER, BODY)[2].get("model_version") == "2")


def test_serving_load_tells_why_it_fails(platform, deployed, asked, wait_until):
    deployed()
    folder = platform.artifacts.local_path(platform.store.revisions.get("m", 1).model_uri)
    assert asked(UNLOAD, {})[0] == 200
    wait_until(lambda: not with_model(platform))
    model = folder / "model.onnx"
    good = model.read_bytes()
    model.chmod(0o600)
    model.write_bytes(b"else")
    status, _, body = asked(LOAD, {})
    assert (status, "was altered" in body["error"]) == (503, True)
    model.write_bytes(good)
    wait_until(lambda: asked(INFER, BODY)[0] == 200)


def test_serving_unload_needs_an_operator(platform, deployed, asked):
    platform.tokens = [hashlib.sha256(name.encode()).hexdigest() for name in ("viewer", "boss")]

    def operator(token, deployment, loaded):
        assert (deployment, loaded) == ("m", False)
        if token != platform.tokens[1]:
            raise PermissionDenied("viewer is a viewer.", "Ask an admin.")
        return "boss"

    platform.operator = operator
    platform.end()
    platform.begin()
    deployed()
    assert asked(UNLOAD, {})[0] == 401
    status, _, body = asked(UNLOAD, {}, "Authorization: Bearer viewer")
    assert (status, body["error"]) == (403, "viewer is a viewer. Ask an admin.")
    assert asked(INFER, BODY, "Authorization: Bearer viewer")[0] == 200
    assert asked(UNLOAD, {}, "Authorization: Bearer boss")[0] == 200
    assert asked(INFER, BODY, "Authorization: Bearer viewer")[0] == 503
    assert asked(INFER, BODY)[0] == 401
    (event, *_), _ = platform.store.events.page(1, subject="deployment/m")
    assert event.data["by"] == "boss"


def test_serving_unloaded_after_its_doorkeeper_dies(platform, deployed, asked, wait_until):
    deployed()
    assert asked(UNLOAD, {})[0] == 200
    wait_until(lambda: not with_model(platform))
    assert asked(INFER, BODY)[0] == 503
    wait_until(lambda: platform.status("m")["replicas"][0]["state"] == "unloaded")
    (doorkeeper,) = platform.status("m")["replicas"]
    os.kill(doorkeeper["pid"], signal.SIGKILL)
    wait_until(lambda: asked(INFER, BODY)[0] == 503)
    assert asked(LOAD, {})[0] == 200


def test_serving_grpc_unload_stays_until_load(platform, deployed, connect, wait_until):
    deployed()
    client = connect(platform.port("m"))
    given = [("x", "FP32", ROWS)]
    assert client.infer("m", given).model_version == "1"
    assert client.call("RepositoryModelUnload", model_name="m").isUnloaded
    wait_until(lambda: not with_model(platform))
    # The same channel: it was told that the replica leaves, and connects again.
    for ask in (lambda: client.infer("m", given), lambda: client.call("ModelMetadata", name="m")):
        with pytest.raises(grpc.RpcError) as refused:
            ask()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "isn't loaded" in refused.value.details()
    assert not client.call("ServerReady").ready
    assert not client.call("ModelReady", name="m").ready
    (model,) = client.call("RepositoryIndex").models
    assert (model.state, model.reason) == ("UNAVAILABLE", "It was unloaded.")
    assert not client.call("RepositoryIndex", ready=True).models
    assert client.call("RepositoryModelLoad", model_name="m").isLoaded
    assert client.infer("m", given).model_version == "1"


def test_serving_unload_takes_a_canary_along(platform, deployed, models, asked, wait_until):
    deployed(min=1)
    platform.register("m", models("shifted"), "r2")
    rollout = RolloutSpec(canary=(50.0,), bake_s=3600.0)
    canary = platform.desk.request("m", "m", 2, key="r2:deploy", rollout=rollout, by="kim")
    second = "/v2/models/m/versions/2/infer"
    wait_until(lambda: asked(second, BODY)[0] == 200)
    assert asked(UNLOAD, {})[0] == 200
    wait_until(lambda: not with_model(platform))
    for path in (INFER, "/v2/models/m/versions/1/infer", second):
        assert asked(path, BODY)[0] in (404, 503)
    assert asked(LOAD, {})[0] == 200
    wait_until(lambda: asked(second, BODY)[0] == 200)
    assert platform.store.revisions.get("m", canary.number).status is RevisionStatus.CANARY
