"""What a scraper reads: both text formats, checked by parsers of others."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from volant.serving.board import Board
from volant.serving.counters import Counters
from volant.serving.exposition import OPENMETRICS, TEXT, Exposition, negotiated
from volant.serving.metrics import Counted, tell
from volant.serving.snapshot import Snapshot

NASTY = 'a"b\\c\nd'


def counted() -> list[Counted]:
    board = Board()
    first = Counters.of(board.assign(1, 1).message())
    second = Counters.of(board.assign(2, 2).message())
    for number in range(100):
        first.answered(200, 0.001 * (number + 1), 100, 50)
        first.predicted(1, 3, 0.0005)
    first.answered(422, 0.1, 5, 5)
    second.answered(500, 0.02, 5, 5)
    own, revisions = board.read()
    return [Counted("one", "m", own, revisions), Counted(NASTY, "m2", {}, [Snapshot(1, 1)])]


def told(*, openmetrics: bool) -> str:
    into = Exposition(openmetrics=openmetrics)
    into.info("volant_build", "Facts.", {"version": NASTY})
    tell(into, counted())
    return into.body().decode()


def values(families, name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


@pytest.mark.parametrize(("parse", "openmetrics"), [(parse_text, False), (parse_openmetrics, True)])
def test_metrics_parse_and_tell_what_was_counted(parse, openmetrics):
    families = list(parse(told(openmetrics=openmetrics)))
    requests = "volant_requests_total"
    assert values(families, requests, revision="1", deployment="one", code="2xx") == [100]
    assert values(families, requests, revision="1", deployment="one", code="4xx") == [1]
    assert values(families, requests, revision="2", code="5xx") == [1]
    assert values(families, requests, deployment=NASTY, code="2xx") == [0]
    seconds = "volant_request_duration_seconds"
    one = {"revision": "1", "deployment": "one"}
    assert values(families, f"{seconds}_count", **one) == [100]
    assert values(families, f"{seconds}_sum", **one) == [pytest.approx(5.05, rel=1e-3)]
    buckets = values(families, f"{seconds}_bucket", **one)
    assert buckets == sorted(buckets)
    assert buckets[-1] == 100
    assert values(families, "request_predict_seconds_count", model_name="m", model_version="1") == [
        100
    ]
    assert values(families, "model_infer_request_failure_total", model="m", version="2") == [1]
    assert values(families, "volant_predicted_rows_total", **one) == [300]
    assert values(families, "volant_replicas", **one) == [1]
    assert values(families, "volant_build_info", version=NASTY) == [1]
    assert all(family.documentation for family in families)


def test_metrics_of_versions_that_two_revisions_serve_are_one_series():
    revisions = [Snapshot(revision=n, version=1, answered=2) for n in (1, 2)]
    into = Exposition(openmetrics=False)
    tell(into, [Counted("d", "m", {}, revisions)])
    families = list(parse_text(into.body().decode()))
    assert values(families, "model_infer_request_success_total", model="m") == [4]


def test_metrics_leave_old_revisions_out():
    revisions = [Snapshot(revision=n, version=n, replicas=int(n == 3)) for n in range(1, 40)]
    into = Exposition(openmetrics=False)
    tell(into, [Counted("d", "m", {}, revisions)])
    families = list(parse_text(into.body().decode()))
    shown = {s.labels["revision"] for f in families for s in f.samples if "revision" in s.labels}
    assert shown == {"3", "36", "37", "38", "39"}


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;q=0.8", True),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.9", False),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.5", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
    ],
)
def test_metrics_format_follows_the_accept_header(accept, openmetrics):
    assert negotiated(accept) is openmetrics
    expected = OPENMETRICS if openmetrics else TEXT
    assert Exposition(openmetrics=openmetrics).content_type == expected


@pytest.mark.service
def test_metrics_promtool_finds_nothing_to_say():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine")
    text = told(openmetrics=False)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
