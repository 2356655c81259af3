"""The client's side, in MLflow's own environment: makes the calls, prints milliseconds.

    python calls.py calls ROUNDS
    python calls.py search ROUNDS

One JSON object on standard output: {"ms": call → list of milliseconds, "run": the one that
is to be copied before the search}. The server is the one
that MLFLOW_TRACKING_URI names; only the client's public methods are used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.rest_utils import MlflowHostCreds, http_request

client = MlflowClient()
found: dict[str, list[float]] = {}
SEARCHED = "searched"


def timed(name: str, act: Callable[[], Any], times: int, each: int = 1) -> None:
    """Milliseconds of one `act`, which does the thing `each` times."""
    act()  # the first call opens the connection
    for _ in range(times):
        started = time.perf_counter()
        act()
        found.setdefault(name, []).append((time.perf_counter() - started) * 1000 / each)


def batch(run_id: str, start: int) -> None:
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric("b", i, now, i) for i in range(start, start + 1000)])


def template() -> str:
    """A run with two params, two metrics and a tag, to be copied."""
    run = client.create_run(client.create_experiment(SEARCHED), tags={"kind": "0"})
    now = int(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric("rmse", 1.0, now, 0), Metric("r2", 0.5, now, 0)],
        params=[Param("depth", "0"), Param("rate", "0")],
    )
    return run.info.run_id


def search() -> None:
    experiment = client.get_experiment_by_name(SEARCHED).experiment_id
    rows = client.search_runs(
        [experiment],
        "metrics.rmse < 0.05 and params.depth = '3'",
        order_by=["metrics.rmse ASC"],
        max_results=50,
    )
    assert rows


def empty() -> None:
    """What the client itself takes, whatever the server does."""
    creds = MlflowHostCreds(os.environ["MLFLOW_TRACKING_URI"])
    http_request(creds, "/health", "GET").raise_for_status()


def calls(rounds: int) -> None:
    timed("(a call that does nothing)", empty, rounds)
    experiment = client.create_experiment(f"bench {time.time_ns()}")
    run_id = client.create_run(experiment).info.run_id
    step = iter(range(10**9))
    timed("run create", lambda: client.create_run(experiment), rounds)
    timed("metric", lambda: client.log_metric(run_id, "m", 1.0, step=next(step)), rounds)
    timed("batch of 1 000 metrics", lambda: batch(run_id, next(step) * 1000), rounds)
    timed("run get", lambda: client.get_run(run_id), rounds)
    name = f"bench-{time.time_ns()}"
    client.create_registered_model(name)
    client.log_text(run_id, "weights", "model/model.txt")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    timed("version create", lambda: client.create_model_version(name, source, run_id), rounds)
    client.set_registered_model_alias(name, "best", "1")
    timed("version by alias", lambda: client.get_model_version_by_alias(name, "best"), rounds)
    folder = Path(tempfile.mkdtemp())
    try:
        artifacts(run_id, folder)
    finally:
        shutil.rmtree(folder)


def artifacts(run_id: str, folder: Path) -> None:
    big = folder / "big.bin"
    big.write_bytes(os.urandom(100_000_000))
    timed("artifact of 100 MB", lambda: client.log_artifact(run_id, str(big)), 2)
    many = folder / "many"
    many.mkdir()
    for i in range(1000):
        (many / f"{i}.txt").write_text("x" * 1000)
    timed("1 000 small artifacts", lambda: client.log_artifacts(run_id, str(many), "many"), 1)


run = ""
if sys.argv[1] == "calls":
    calls(int(sys.argv[2]))
    run = template()
else:
    timed("search", search, int(sys.argv[2]))
json.dump({"ms": found, "run": run}, sys.stdout)
