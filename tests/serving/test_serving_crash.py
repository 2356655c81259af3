"""Kill −9 at every crash point of a deployment: the same deployment, once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from volant.store.records import Store

SCRIPT = Path(__file__).with_name("serving_process.py")
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}


def control_plane(home, folder, **env):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(home), str(folder)],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("point", ["deploy.requested", "deploy.ready", "deploy.activated"])
def test_serving_killed_at_a_crash_point_deploys_once(tmp_path, models, wire, wait_until, point):
    folder = models("numeric")
    dying = control_plane(tmp_path, folder, VOLANT_CRASH_AT=point)
    dying.communicate(timeout=60)
    assert dying.returncode == -signal.SIGKILL
    second = control_plane(tmp_path, folder)
    try:
        assert second.stdout
        # The port, and none of the heavy libraries that only replicas may import.
        port = int(second.stdout.readline())
        # What was live already is told at once, maybe before its socket is bound again.
        wait_until(lambda: _listens(port))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            assert wire.http(client, wire.post("/v2/models/m/infer", BODY))[0] == 200
    finally:
        second.communicate(timeout=60)
    with Store(f"sqlite:///{tmp_path / 'volant.db'}") as store:
        revisions, _ = store.revisions.page("m", 10)
        assert [(r.number, r.status.value) for r in revisions] == [(1, "live")]
        decisions, _ = store.decisions.page(10, loop="m")
        assert [d.outcome.value for d in decisions] == ["activated"]
        events, _ = store.events.page(10, subject="deployment/m")
        assert len(events) == 1
