"""What a deployment shows, with real replicas: exact counts, also of those that were killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from volant.domain.loop import ReplicaSpec
from volant.domain.minute import DeploymentMinute
from volant.errors import InvalidInput, NotFound
from volant.serving.monitoring import MonitoringDesk
from volant.serving.observer import Observer

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
TWO = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [2, 0, 0, 0] * 2}]}
GET = "GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n"


@pytest.fixture
def served(platform, models):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec(min=2, max=2))
    return platform


@pytest.fixture
def monitoring(served):
    store = served.store
    return MonitoringDesk(
        store.deployments,
        store.minutes,
        served.controller,
        logs=served.home / "logs",
        now=lambda: datetime.now(UTC),
    )


def ask(wire, port, *bodies):
    """The statuses of these requests over one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        return [wire.http(client, wire.post("/v2/models/m/infer", body))[0] for body in bodies]


def scrape(wire, port, *headers):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        lines = "".join(f"{h}\r\n" for h in headers)
        status, answered, body = wire.http(client, GET.format("/metrics", lines).encode())
    assert status == 200
    return answered["content-type"], body.decode()


def value(text, name, **labels):
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_monitoring_counts_are_exact_over_replicas_and_survive_kill_9(served, wire, wait_until):
    port = served.port("m")
    wait_until(lambda: len(served.status("m")["replicas"]) == 2)
    mixed = [BODY, TWO, b"{broken", BODY, {"inputs": []}] * 20
    threads = [threading.Thread(target=ask, args=(wire, port, *mixed)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def check(seen):
        assert (seen["requests"], seen["errors"], seen["refused"]) == (600, 0, 240)
        assert sum(each["requests"] for each in seen["replicas"]) <= 600

    check(served.status("m"))
    wait_until(lambda: all(r["memory_bytes"] for r in served.status("m")["replicas"]))
    before = served.status("m")
    assert all(each["cpu_s"] > 0 and each["pid"] > 0 for each in before["replicas"])
    for each in before["replicas"]:
        os.kill(each["pid"], signal.SIGKILL)
    pids = {each["pid"] for each in before["replicas"]}
    wait_until(lambda: not pids & {r["pid"] for r in served.status("m")["replicas"]})
    check(served.status("m"))
    assert ask(wire, port, BODY) == [200]
    after = served.status("m")
    assert (after["requests"], after["losses"]) == (601, 2)
    assert after["revisions"][0]["numbers"]["requests"] == 601
    kind, text = scrape(wire, port)
    assert kind.startswith("text/plain; version=0.0.4")
    assert value(text, "volant_requests_total", code="2xx") == 361
    assert value(text, "volant_requests_total", code="4xx") == 240
    assert value(text, "volant_predicted_rows_total") == 360 + 120 + 1
    assert value(text, "volant_request_duration_seconds_count") == 361
    assert value(text, "request_predict_seconds_count", model_name="m") == 361
    assert value(text, "volant_replica_losses_total") == 2
    assert value(text, "volant_requests_in_flight") <= 1  # the scrape itself


def test_monitoring_scrapes_and_checks_arent_requests(served, wire):
    port = served.port("m")
    kind, text = scrape(wire, port, "Accept: application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert wire.http(client, GET.format(path, "").encode())[0] == 200
    assert served.status("m")["requests"] == 0


def test_monitoring_scrapes_need_no_token_where_requests_do(platform, models, wire):
    platform.tokens = ["0" * 64]
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec(min=1, max=1))
    assert ask(wire, platform.port("m"), BODY) == [401]
    assert value(scrape(wire, platform.port("m"))[1], "volant_requests_total", code="4xx") == 1


def test_monitoring_request_ids_come_back_and_failures_are_in_the_log(
    served, monitoring, wire, wait_until
):
    with socket.create_connection(("127.0.0.1", served.port("m")), timeout=30) as client:
        own = wire.post("/v2/models/m/infer", BODY, "X-Request-Id: mine-1")
        assert wire.http(client, own)[1]["x-request-id"] == "mine-1"
        assert "x-request-id" not in wire.http(client, wire.post("/v2/models/m/infer", BODY))[1]
        own = wire.post("/v2/models/m/infer", b"{", "X-Request-Id: " + "y" * 500)
        assert wire.http(client, own)[1]["x-request-id"] == "y" * 128
        status, headers, _ = wire.http(client, wire.post("/v2/models/m/infer", b"{"))
    assert status == 400
    made = headers["x-request-id"]

    def logged():
        return [line.get("request_id") for line in monitoring.log("m", 100)["lines"]]

    wait_until(lambda: made in logged())
    assert logged() == ["y" * 128, made]
    log = monitoring.log("m", 1)
    assert (log["lines"][0]["status"], log["lines"][0]["path"]) == (400, "/v2/models/m/infer")
    ask(wire, served.port("m"), b"[]")
    wait_until(lambda: len(monitoring.log("m", 10, log["after"])["lines"]) == 1)


def test_monitoring_replicas_follow_a_log_that_is_turned_over(served, monitoring, wire, wait_until):
    port, log = served.port("m"), served.home / "logs" / "m.log"
    ask(wire, port, b"{")
    wait_until(lambda: monitoring.log("m", 9)["lines"] != [])
    log.rename(log.with_name("m.log.1"))
    ask(wire, port, b"{")
    wait_until(log.exists)
    count = 2

    def in_new_file():
        nonlocal count
        ask(wire, port, b"{")
        count += 1
        return log.read_bytes() != b""

    wait_until(in_new_file)
    wait_until(lambda: len(monitoring.log("m", 1000)["lines"]) == count)


def test_monitoring_cold_starts_and_totals_after_a_restart(platform, models, wire, wait_until):
    platform.register("m", models("numeric"), "r1")
    platform.desk.deploy("m", "m", 1, key="k", replicas=ReplicaSpec(0, 1, idle_s=1.0))
    wait_until(lambda: not platform.status("m")["replicas"])
    assert ask(wire, platform.port("m"), BODY, BODY) == [200, 200]
    seen = platform.status("m")
    assert seen["cold_starts"]["count"] == 1
    assert 1 < seen["cold_starts"]["last_ms"] < 30_000
    wait_until(lambda: not platform.status("m")["replicas"])
    assert platform.status("m")["requests"] == 2  # its row was merged
    platform.end()
    (minute, *more) = platform.store.minutes.between(
        "m", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    )
    every = [minute, *more]  # the clock may have passed a minute
    assert sum(each.requests for each in every) == 2
    assert sum(each.cold_starts for each in every) == 1
    assert max(each.p95_ms or 0 for each in every) > 0
    platform.begin()
    wait_until(lambda: platform.status("m")["status"] == "idle")
    assert ask(wire, platform.port("m"), BODY) == [200]
    assert platform.status("m")["requests"] == 3
    assert platform.status("m")["cold_starts"]["count"] == 2


def test_monitoring_last_minute_and_history(served, monitoring, wire, wait_until):
    ask(wire, served.port("m"), *[BODY] * 50)
    wait_until(lambda: served.status("m")["recent"]["requests"] == 50)
    recent = served.status("m")["recent"]
    assert 0 < recent["p50_ms"] <= recent["p95_ms"] <= recent["p99_ms"]
    assert recent["rps"] > 0
    # The minute's count comes from the next look at the counters.
    wait_until(lambda: sum(p["requests"] for p in monitoring.history("m")["points"]) == 50)
    points = monitoring.history("m")["points"]
    assert 1 < max(point["rps_peak"] for point in points) <= 50


def test_monitoring_history_in_steps(served, monitoring):
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    served.store.minutes.add(
        [
            DeploymentMinute("m", now - timedelta(minutes=age), requests=60, p95_ms=float(age))
            for age in (1, 2, 3, 90)
        ]
    )
    hour = monitoring.history("m")
    assert [p["requests"] for p in hour["points"]] == [60, 60, 60]
    assert hour["points"][0]["rps"] == 1.0
    found = monitoring.history("m", now - timedelta(hours=2), 7200)
    assert sum(p["requests"] for p in found["points"]) == 240
    assert max(p["p95_ms"] for p in found["points"]) == 90
    month = monitoring.history("m", now - timedelta(days=60))
    assert month["step_s"] % 60 == 0
    assert len(month["points"]) <= 240
    with pytest.raises(NotFound):
        monitoring.history("nothing")
    with pytest.raises(NotFound):
        monitoring.log("nothing", 1)
    for since, step in ((now + timedelta(days=1), None), (None, 30), (now - timedelta(days=9), 60)):
        with pytest.raises(InvalidInput):
            monitoring.history("m", since, step)


def test_monitoring_history_is_forgotten_after_thirty_days(served):
    """Once an hour, and first when the platform starts."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    ages = [timedelta(days=29), timedelta(days=30, minutes=2), timedelta(days=400)]
    served.store.minutes.add([DeploymentMinute("m", now - age, requests=1) for age in ages])

    def left():
        found = served.store.minutes.between("m", now - timedelta(days=1000), now)
        return [now - each.minute for each in found]

    assert len(left()) == 3
    clock = SimpleNamespace(now=now)
    observer = Observer(
        served.controller.boards, served.store.minutes, served.home / "logs", lambda: clock.now
    )
    observer.tick()
    assert left() == ages[:1]
    clock.now += timedelta(days=2)
    observer.tick()  # within the hour: not yet
    assert left() == ages[:1]


def test_monitoring_control_plane_tells_the_same_as_the_replica(served, monitoring, wire):
    ask(wire, served.port("m"), BODY, TWO)
    (counted,) = monitoring.counted()
    assert (counted.deployment, counted.model) == ("m", "m")
    assert sum(each.rows for each in counted.revisions) == 3
    assert json.dumps(served.status("m"))
