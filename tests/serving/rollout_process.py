"""A control plane that takes one rollout to its end, to be killed on its way.

python rollout_process.py HOME MODEL_DIR COURSE: version 1 of m is live, version 2 takes
over as the course says. It prints the port when all is settled, and waits for end of file.

good: a canary that goes live. bad: a canary that is too slow, and so given up. worse: one
that is live at once, too slow, and so taken back.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.request
from pathlib import Path

from serving_process import Platform

from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.loop import ReplicaSpec, RolloutSpec
from volant.serving.served import Patience

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}
TOO_SLOW = {"p95_ms": 0.001, "min_requests": 1}
COURSES = {
    "good": RolloutSpec(canary=(50.0,), bake_s=0.3),
    "bad": RolloutSpec(canary=(90.0,), bake_s=600, **TOO_SLOW),
    "worse": RolloutSpec(bake_s=600, **TOO_SLOW),
}
ENDS = {
    "good": ["retired", "live"],
    "bad": ["live", "aborted"],
    "worse": ["retired", "retired", "live"],
}


def ask(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/m/infer",
        json.dumps(BODY).encode(),
        {"Content-Type": "application/json"},
    )
    # Right after a start its socket may not be there yet.
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()


if __name__ == "__main__":
    home, folder = map(Path, sys.argv[1:3])
    course = sys.argv[3]
    zygote = ZygoteLauncher({"serve": ("volant.serving.replica",)})
    platform = Platform(home, zygote, Patience())
    for run in ("run-1", "run-2"):
        platform.register("m", folder, run)
    platform.begin()
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec(min=1))
    platform.desk.deploy("m", "m", 2, key="run-2:deploy", rollout=COURSES[course])
    while True:
        rows = list(reversed(platform.store.revisions.page("m", 9)[0]))
        if [r.status.value for r in rows] == ENDS[course] and all(r.since is None for r in rows):
            break
        ask(platform.port("m"))
        time.sleep(0.01)
    print(platform.port("m"), flush=True)
    sys.stdin.read()
    platform.end()
    zygote.close()
