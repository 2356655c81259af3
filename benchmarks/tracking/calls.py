"""The client's side, in MLflow's own environment: makes the calls, prints milliseconds.

    python calls.py ROUNDS RUNS

One JSON object on standard output: call → list of milliseconds. The server is the one
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

client = MlflowClient()
found: dict[str, list[float]] = {}


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


def fill(experiment: str, runs: int) -> None:
    """Runs with two params, two metrics and a tag each."""

    def one(i: int) -> None:
        run = client.create_run(experiment, tags={"kind": str(i % 7)})
        now = int(time.time() * 1000)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("rmse", (i * 7919 % 10007) / 10007, now, 0), Metric("r2", 0.5, now, 0)],
            params=[Param("depth", str(i % 20)), Param("rate", str(i % 13))],
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(runs)))


def search(experiment: str) -> None:
    rows = client.search_runs(
        [experiment],
        "metrics.rmse < 0.05 and params.depth = '3'",
        order_by=["metrics.rmse ASC"],
        max_results=50,
    )
    assert rows


def main(rounds: int, runs: int) -> None:
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
    fill(experiment, runs)
    timed(f"search over {runs} runs", lambda: search(experiment), max(3, rounds // 5))


def artifacts(run_id: str, folder: Path) -> None:
    big = folder / "big.bin"
    big.write_bytes(os.urandom(100_000_000))
    timed("artifact of 100 MB", lambda: client.log_artifact(run_id, str(big)), 2)
    many = folder / "many"
    many.mkdir()
    for i in range(1000):
        (many / f"{i}.txt").write_text("x" * 1000)
    timed("1 000 small artifacts", lambda: client.log_artifacts(run_id, str(many), "many"), 1)


main(int(sys.argv[1]), int(sys.argv[2]))
json.dump(found, sys.stdout)
