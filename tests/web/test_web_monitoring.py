"""Metrics, history and logs over HTTP."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

HISTORY = "/api/v1/deployments/wine-quality/history"
LOGS = "/api/v1/deployments/wine-quality/logs"


def test_metrics_want_a_token_and_follow_the_accept_header(call):
    assert call("GET", "/metrics", role=None).status_code == 401
    plain = call("GET", "/metrics", role="viewer")
    assert plain.status_code == 200
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'volant_runs{status="running"} 1\n' in plain.text
    accept = {"Accept": "application/openmetrics-text"}
    openmetrics = call("GET", "/metrics", role="viewer", headers=accept)
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_history_takes_a_time_and_a_step(call):
    found = call("GET", HISTORY, params={"since": "2026-01-01T00:00:00Z", "step": 120})
    assert found.json()["step_s"] == 120
    assert found.json()["points"][0]["requests"] == 120
    assert call("GET", HISTORY, params={"since": "yesterday"}).status_code == 400
    assert call("GET", HISTORY.replace("wine-quality", "none")).status_code == 404


def test_logs_are_paged_by_place(call):
    first = call("GET", LOGS, params={"limit": 1}).json()
    assert first["lines"] == [{"text": "printed"}]
    assert call("GET", LOGS, params={"after": first["after"]}).json()["lines"] == []
    assert call("GET", LOGS, params={"limit": 0}).status_code == 400
    assert call("GET", LOGS.replace("wine-quality", "none")).status_code == 404


@pytest.mark.anyio
async def test_logs_stream_is_server_sent_events(app):
    from volant.web.api.monitoring import _events

    monitoring = app.state.platform.monitoring
    found = monitoring.log("wine-quality", 10, None)
    leaving = False
    stream = _events(monitoring, "wine-quality", found, lambda: leaving)
    with anyio.fail_after(10):
        events = [await anext(stream) for _ in range(3)]
        monitoring.lines.append({"text": "later"})
        events.append(await anext(stream))
    leaving = True
    with anyio.fail_after(10):
        assert [event async for event in stream] == []
    assert events[0].startswith(":")
    data = [json.loads(event.partition("data: ")[2]) for event in events[1:]]
    assert [line.get("text") for line in data] == [None, "printed", "later"]
    assert [event.split("\n")[0] for event in events[1:]] == ["id: 2", "id: 2", "id: 3"]


def test_logs_stream_of_nothing_is_not_found(call):
    answer = call("GET", f"{LOGS.replace('wine-quality', 'none')}/stream")
    assert isinstance(answer, httpx.Response)
    assert answer.status_code == 404
