"""How a deployment's numbers look in a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.cli.deployment_views import bars, latency, rate, replicas, span
from volant.errors import InvalidInput


def test_list_and_one_show_the_last_minute(volant):
    head, line = volant("deployments").out.splitlines()
    assert head.split() == [
        "NAME", "STATUS", "MODEL", "VERSION", "REPLICAS", "REQ/S", "P95", "ERRORS", "URL",
    ]  # fmt: skip
    assert "0.15   2.25 ms  1 " in line
    shown = volant("deployments", "show", "wine-quality").out
    assert (
        "last minute: 0.15 req/s, p50 0.50 ms, p95 2.25 ms, p99 1500 ms, 1 errors, 2 refused"
        in shown
    )
    assert "now: 1 in flight, 4 rows wait" in shown
    assert "since the start: 12 requests, 1 errors, 2 cold starts (the last took 48.2 ms)" in shown
    assert "12%" in shown
    assert volant("deployments", "show", "wine-quality", "--watch").out == shown  # no terminal


def test_the_list_counts_what_serves():
    def shown(*states):
        each = [{"revision": revision, "state": state} for revision, state in states]
        found = {"limits": {"min": 0, "max": 2}, "live_revision": 2, "replicas": each}
        return replicas(found)

    assert shown() == "0 of 0-2"
    assert shown((2, "ready"), (2, "spare"), (1, "draining")) == "1 of 0-2 +1 spare"
    assert shown((2, "ready"), (2, "starting"), (3, "ready")) == "2 of 0-2 +1 other"
    assert shown((2, "unloaded")) == "0 of 0-2"


def test_unload_and_load(volant):
    assert volant("deployments", "unload", "wine-quality").out == (
        "wine-quality has unloaded its model.\n"
    )
    told = json.loads(volant("deployments", "load", "wine-quality", "--json").out)
    assert told["status"] == "starting"
    assert volant("deployments", "load", "nothing").code == 3


def test_history_draws_and_tells(volant):
    shown = volant("deployments", "history", "wine-quality", "--since", "30m").out
    lines = {line.split("  ")[0].strip(): line for line in shown.splitlines()}
    assert lines["requests/s"].endswith("█   2")
    assert lines["p99"].endswith("1200 ms")
    assert lines["memory"].endswith("40.0 MB")
    told = json.loads(volant("deployments", "history", "wine-quality", "--json").out)
    assert told["points"][0]["requests"] == 120
    assert volant("deployments", "history", "wine-quality", "--since", "soon").code == 2
    assert volant("deployments", "history", "nothing").code == 3


def test_logs_show_failures_in_one_line(volant):
    first, second = volant("deployments", "logs", "wine-quality").out.splitlines()
    assert "400 POST /v2" in first
    assert "request_id=r-1" in first
    assert second == "printed"
    assert volant("deployments", "logs", "wine-quality", "-n", "1").out == "printed\n"
    told = json.loads(volant("deployments", "logs", "wine-quality", "--json").out)
    assert told["lines"][1] == {"text": "printed"}
    assert volant("deployments", "logs", "nothing").code == 3


def test_spans_and_latencies():
    assert (span("30m"), span("6h"), span("7d")) == (1800, 21600, 604800)
    for wrong in ("", "h", "0m", "5", "1w", "-1h"):
        with pytest.raises(InvalidInput):
            span(wrong)
    assert [latency(v) for v in (None, 0.25, 31.42, 2500.0)] == [
        "-",
        "0.25 ms",
        "31.4 ms",
        "2500 ms",
    ]
    assert rate({}) == rate({"requests": 0, "rps": 0.0}) == "-"


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=500))
def test_bars_fit_and_the_highest_is_full(values):
    drawn = bars(values)
    assert len(drawn) <= 60
    assert ("█" in drawn) == any(v for v in values if v)
