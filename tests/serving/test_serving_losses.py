"""Requests that no replica answered: what is counted of them, and what the log tells."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from time import perf_counter
from types import SimpleNamespace

import pytest
from tests.serving.echoes import SLEEPY, echo_model

from volant.domain.loop import ReplicaSpec
from volant.serving.exchange import Exchange
from volant.serving.forward import Call
from volant.serving.http_server import HttpServer
from volant.serving.limits import HttpLimits
from volant.serving.log_files import tail
from volant.serving.snapshot import added
from volant.serving.split import Split
from volant.serving.traffic import Route

ALWAYS = ReplicaSpec(min=1, max=1)


def body(value):
    return {"inputs": [{"name": "FP32", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}


@pytest.fixture
def served(platform, tmp_path):
    platform.register("m", echo_model(tmp_path / "sleepy", ["FP32"], SLEEPY), "r1")
    platform.desk.deploy("m", "m", 1, key="k1", replicas=ALWAYS)
    return platform


def connect(platform):
    return socket.create_connection(("127.0.0.1", platform.port("m")), timeout=30)


def replica(platform):
    found = platform.status("m")["replicas"]
    return found[0] if found else {"pid": 0, "in_flight": 0}


def counted(platform):
    return added(platform.controller.boards.read("m")[1])


def test_losses_requests_of_a_killed_replica_are_errors(served, wire, wait_until):
    with connect(served) as client:
        client.sendall(wire.post("/v2/models/m/infer", body(-30)))
        wait_until(lambda: replica(served)["in_flight"] == 1)
        (waiting,) = counted(served).waiting
        assert waiting >= 0
        pid = replica(served)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: replica(served)["pid"] not in (0, pid))
    assert (served.status("m")["requests"], served.status("m")["errors"]) == (1, 1)
    assert counted(served).lost == 1
    told = [line for line in tail(served.home / "logs/m.log", 9)[0] if "lost" in line]
    assert [(line["replica"], line["revision"]) for line in told] == [(pid, 1)]
    assert "SIGKILL" in told[0]["lost"]
    served.end()
    now = datetime.now(UTC)
    minutes = served.store.minutes.between("m", now - timedelta(hours=1), now + timedelta(hours=1))
    assert sum(each.errors for each in minutes) == 1


def test_losses_of_a_deployment_that_is_down_are_errors(served, wire, wait_until, tmp_path):
    (tmp_path / "artifacts/models/m/r1/code/model.py").write_bytes(b"rotten")
    os.kill(replica(served)["pid"], signal.SIGKILL)
    wait_until(lambda: "3 times" in (served.status("m")["reason"] or ""))
    refused = 0
    while refused < 5:
        with connect(served) as client:
            assert wire.http(client, wire.post("/v2/models/m/infer", body(1)))[0] == 503
            refused += 1
        with connect(served) as client:  # a check is no request
            assert wire.http(client, b"GET /v2/health/ready HTTP/1.1\r\n\r\n")[0] == 503
    wait_until(lambda: counted(served).lost == refused)
    seen = served.status("m")
    assert (seen["requests"], seen["errors"]) == (refused, refused)
    told = [line["lost"] for line in tail(served.home / "logs/m.log", 50)[0] if "lost" in line]
    assert any("was altered" in line for line in told)


@pytest.mark.parametrize(
    ("waited", "internal", "how", "lost"),
    [
        (9, False, "", 0),  # it has its own reasons
        (11, False, "", 1),
        (11, True, "", 0),  # who sent it on counts it
        (11, False, "away", 0),
        (11, False, "away back", 1),
    ],
)
def test_losses_a_client_that_gives_up_after_long_wasnt_served(waited, internal, how, lost):
    async def given_up():
        server = HttpServer(asyncio.get_running_loop(), HttpLimits(), lambda told: None)
        exchange = Exchange(SimpleNamespace(internal=internal, peer=""), b"POST", b"/")
        exchange.started = perf_counter() - waited
        server.began(exchange)
        if "away" in how:
            server.away(exchange)
        if "back" in how:
            server.back(exchange)
        server.abandoned(exchange)
        server.close()
        return server.counters.snapshots()[1][0]

    found = asyncio.run(given_up())
    assert (found.lost, found.in_flight, found.waiting) == (lost, 0, ())


@pytest.mark.parametrize(("waited", "unreached"), [(9, []), (11, [2])])
def test_losses_of_what_was_passed_on_are_the_others(waited, unreached):
    found: list[int] = []
    split = Split.__new__(Split)
    split._server = SimpleNamespace(
        loop=SimpleNamespace(time=lambda: 100.0),
        limits=HttpLimits(),
        counters=SimpleNamespace(unreached=found.append),
        away=lambda exchange: None,
    )
    split._counts, split.counted = {}, 0
    call = Call(b"", lambda outcome: None, 100.0 - waited)
    split.send = lambda route, request, done: call
    exchange = Exchange(SimpleNamespace(internal=False, peer=""), b"POST", b"/")
    split.pass_on(exchange, Route(2, "2", 10.0, "canary", "s"), b"", lambda outcome: None)
    exchange.give_up()
    assert call.done is None
    assert found == unreached
    assert split._counts.get(2, Counter())["unreached"] == len(unreached)
