"""Connections by the thousand, descriptors that run out, clients that go and processes that
die: what it costs a real replica, and that all of it is given back."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct

import numpy as np
import pytest
from hostile import answers, descriptors, processor_s, resident, rest_of, whole_answer
from tests.serving.echoes import echo_model

from volant.domain.loop import ReplicaSpec

INFER = "/v2/models/numeric/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
EXITS = """
import os

class Model:
    def predict(self, inputs):
        if inputs["FP32"].min() < 0:
            os._exit(7)
        return {"FP32_out": inputs["FP32"]}
"""


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def test_serving_a_thousand_kept_connections_cost_little(
    numeric, wire, wait_until, many_descriptors
):
    with contextlib.ExitStack() as all_of_them:
        with numeric.connect() as first:
            assert wire.http(first, wire.post(INFER, BODY))[0] == 200
        had, open_before = resident(numeric.pid), descriptors(numeric.pid)
        clients = [all_of_them.enter_context(numeric.connect()) for _ in range(1000)]
        for client in clients:  # each was used, so that it is kept and not only accepted
            assert wire.http(client, wire.post(INFER, BODY))[0] == 200
        assert resident(numeric.pid) - had < 64 << 20
        used = processor_s(numeric.pid)
        pause(2.0)
        assert processor_s(numeric.pid) - used < 0.5  # of 2 s: it looks at them once a second
        assert wire.http(clients[500], wire.post(INFER, BODY))[0] == 200
    wait_until(lambda: descriptors(numeric.pid) <= open_before + 2)


def test_serving_out_of_descriptors_does_not_spin(start_replica, spec_for, wire, wait_until):
    replica = start_replica(spec_for("numeric"))
    used = descriptors(replica.pid)
    resource.prlimit(replica.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
    with contextlib.ExitStack() as all_of_them:
        clients = [all_of_them.enter_context(replica.connect()) for _ in range(40)]
        wait_until(lambda: descriptors(replica.pid) == used + 5)
        before = processor_s(replica.pid)
        pause(2.0)
        assert processor_s(replica.pid) - before < 0.5
        # Those that it took are served, and make room for the others when they go.
        for client in clients:
            client.settimeout(30)
            assert wire.http(client, wire.post(INFER, BODY))[0] == 200
            client.close()
    log = replica.log_path.read_text()
    assert "Traceback" not in log


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_serving_clients_that_go_leave_nothing_behind(numeric, wire, wait_until, how):
    """In the middle of a head, of a body, and before their answer."""
    raw = wire.post(INFER, BODY)
    for sent in (b"", raw[:10], raw[:-1], raw, raw * 20):
        with numeric.connect() as client:
            client.sendall(sent)
    pause(0.2)
    open_before = descriptors(numeric.pid)
    for _ in range(60):
        for sent in (b"", raw[:10], raw[:-1], raw, raw * 20):
            with numeric.connect() as client:
                client.sendall(sent)
                if how == "reset":
                    linger = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(lambda: descriptors(numeric.pid) <= open_before + 2)
    with numeric.connect() as client:
        assert wire.http(client, raw)[0] == 200
        about = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        _, _, figures = wire.http(client, about)
    flying = [line for line in figures.decode().splitlines() if "in_flight" in line]
    assert all(float(line.split()[-1]) <= 1 for line in flying if not line.startswith("#")), flying


def test_serving_half_closed_clients_get_all_that_they_asked_for(numeric, wire):
    raw = wire.post(INFER, BODY) * 50
    found = answers(whole_answer(numeric.port, raw))
    assert [status for status, _ in found] == [200] * 50
    # Cut inside the last one: what was whole is answered.
    found = answers(whole_answer(numeric.port, raw[:-1]))
    assert [status for status, _ in found] == [200] * 49


# processes that die


def test_serving_one_of_two_replicas_is_killed_under_load(platform, models, load, wait_until):
    """Its clients lose what they had asked, at once; the others notice nothing."""
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ReplicaSpec(min=2, max=2))

    def pids() -> list[int]:
        status = platform.status("m")
        return [r["pid"] for r in status["replicas"] if r["state"] == "ready"]

    wait_until(lambda: len(pids()) == 2)
    traffic = [load(platform.port("m"), "m", 4)]
    while not all(r["requests"] > 20 for r in platform.status("m")["replicas"]):
        # Whoever is quicker accepts: it may take some more until both have clients.
        assert len(traffic) < 20
        pause(0.5)
        traffic.append(load(platform.port("m"), "m", 2))
    doomed = pids()[0]
    os.kill(doomed, signal.SIGKILL)
    wait_until(lambda: len(pids()) == 2 and doomed not in pids())
    before = [each.total() for each in traffic]
    wait_until(lambda: all(t.total() > b for t, b in zip(traffic, before, strict=True)))
    for each in traffic:
        each.stop()
    failures = [told for each in traffic for told in each.failures]
    assert len(failures) <= 4 + 2 * (len(traffic) - 1)
    assert not [told for told in failures if "timed out" in told]


def ask(port: int, value: float) -> list:
    """What comes back for one number: nothing, when the process died over it."""
    data = np.float32(value).item()
    tensor = {"name": "FP32", "shape": [1, 1], "datatype": "FP32", "data": [data]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=40) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        return answers(rest_of(client))


def test_serving_a_model_that_ends_its_process_is_told_and_slowed_down(
    platform, wait_until, tmp_path
):
    platform.register("m", echo_model(tmp_path / "exits", ["FP32"], EXITS), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec(min=1))
    port = platform.port("m")
    assert ask(port, 1)[0][0] == 200
    for _ in range(3):
        found = ask(port, -1)
        assert not found or found[0][0] == 503  # it waits for the next start
        while found and found[0][0] == 503:
            pause(0.2)
            found = ask(port, -1)
    seen: list[dict] = []

    def told() -> bool:
        seen.append(platform.status("m"))
        return "times in a row" in (seen[-1]["reason"] or "")

    wait_until(told)
    # Failing while it waits for the next start, longer each time; serving from then on,
    # and the reason stays until it has proven itself.
    assert seen[-1]["status"] in ("failing", "starting", "serving")
    assert "next start in" in seen[-1]["reason"]
    assert "7" in seen[-1]["reason"].partition("next start in")[2]
    wait_until(lambda: [s for s, _ in ask(port, 1)] == [200])
    log = (tmp_path / "logs" / "m.log").read_text()
    assert "Traceback" not in log
