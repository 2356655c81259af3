"""Kill −9 at every crash point of a rollout: the same end, each decision once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from volant.store.records import Store

pytestmark = pytest.mark.chaos

SCRIPT = Path(__file__).with_name("rollout_process.py")
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
TOLD = {
    "good": ["activated", "advanced", "activated", "settled"],
    "bad": ["activated", "advanced", "aborted"],
    "worse": ["activated", "activated", "reverted", "activated"],
}


@pytest.mark.parametrize(
    ("point", "course"),
    [
        ("deploy.ready", "good"),
        ("rollout.advanced", "good"),
        ("deploy.activated", "good"),
        ("rollout.judged", "bad"),
        ("rollout.aborted", "bad"),
        ("rollout.judged", "worse"),
        ("rollout.reverted", "worse"),
    ],
)
def test_rollout_killed_at_a_crash_point_ends_the_same(
    tmp_path, models, wire, wait_until, point, course
):
    def control_plane(**env):
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", SCRIPT, tmp_path, models("numeric"), course],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    dying = control_plane(VOLANT_CRASH_AT=point)
    dying.communicate(timeout=60)
    assert dying.returncode == -signal.SIGKILL
    second = control_plane()
    try:
        assert second.stdout
        port = int(second.stdout.readline())

        def answered():
            # What the dead one left may hold the port for a moment.
            with contextlib.suppress(ConnectionRefusedError):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    return wire.http(client, wire.post("/v2/models/m/infer", BODY))[0] == 200
            return False

        wait_until(answered)
    finally:
        second.communicate(timeout=60)
    with Store(f"sqlite:///{tmp_path / 'volant.db'}") as store:
        decisions, _ = store.decisions.page(50, loop="m")
        assert [d.outcome.value for d in reversed(decisions)] == TOLD[course]
        events, _ = store.events.page(50, subject="deployment/m")
        assert len(events) == len(decisions)
        live = store.deployments.get("m").live_version
        assert live == (2 if course == "good" else 1)
        champion = store.models.champion("m")
        assert champion is not None
        assert champion.version == live
