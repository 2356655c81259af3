"""Kill −9 while a push is received, tested and applied: each effect is there, once."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from code_archive import archive
from platform_process import own, wait_for

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

LOOP = """\
kind: Loop
name: {name}
data: {{dataset: {name}, target: label}}
tests: test -f train.py
"""
POINTS = [point for point in CRASH_POINTS if point.startswith("codeset.")]
BEFORE = {"codeset.made"}  # nothing was sent when it dies there
AFTER = {"codeset.deleted"}


@pytest.mark.parametrize("point", POINTS)
def test_killed_on_the_way_a_push_is_done_once(platforms, point):
    platform = platforms()
    crashed, name = platform.folder / "crashed", own("ops")
    platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed))
    files = {"train.py": b"", "volant.yaml": LOOP.format(name=name).encode()}

    def send():
        with contextlib.suppress(httpx.HTTPError):  # it dies before it answers
            platform.ask("PUT", "/codesets/p/ops", json={})
            platform.ask("POST", "/codesets/p/ops/archive", content=archive(files))

    def again():
        wait_for("its death", platform.ended, 60)
        platform.start()

    send()
    if point not in AFTER:
        again()
    if point in BEFORE:
        send()
    [decision] = wait_for("the decision", lambda: platform.items("/codesets/p/ops/decisions"), 90)
    assert decision["outcome"] == "accepted"
    wait_for("the run's end", lambda: platform.finished(decision["run_id"]), 60)
    assert platform.get(f"/loops/{name}")["generation"] == 1
    wait_for("events", lambda: "volant_events_pending 0" in metrics(platform), 60)
    told = platform.items("/events", subject="codeset/p/ops")
    kinds = sorted(event["type"] for event in told)
    assert kinds == ["volant.codeset.pushed", "volant.codeset.registered"]
    assert len(platform.items("/runs", project="p", codeset="ops")) == 1
    assert len(platform.items("/codesets/p/ops/decisions")) == 1
    if point in AFTER:
        with contextlib.suppress(httpx.HTTPError):
            platform.ask("DELETE", "/codesets/p/ops")
        again()
        assert platform.items("/codesets") == []
        assert not (platform.home / "codesets" / "p" / "ops.git").exists()
    assert crashed.exists()
    platform.down()


def metrics(platform):
    return httpx.get(f"{platform.url}/metrics", headers=platform._http.headers).text
