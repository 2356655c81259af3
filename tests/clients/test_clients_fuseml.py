"""FuseML's shape of a project with MLflow itself, in the environment that its conda.yaml
asks for, old pins included."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2] / "examples"
APP = "mlflow-project-01-mlflow-test-mlflow-e2e"


def test_the_example_is_built_trained_served_and_asked(platforms) -> None:
    platform = platforms().start()
    platform.cli(
        *("codeset", "register", "--name", "mlflow-test", "--project", "mlflow-project-01"),
        ROOT / "codesets" / "mlflow" / "sklearn",
    )
    platform.cli("workflow", "create", ROOT / "workflows" / "mlflow-e2e.yaml")
    run_id = platform.post(
        "/workflows/mlflow-e2e/runs",
        {"project": "mlflow-project-01", "codeset": "mlflow-test"},
    )["id"]
    platform.shell("runs", "show", run_id, "--watch", "--home", str(platform.home), timeout_s=800.0)
    steps = {s["name"]: s for s in platform.get(f"/runs/{run_id}")["state"]["steps"]}
    assert {step["status"] for step in steps.values()} == {"succeeded"}
    changed = [line.partition(" →")[0] for line in steps["builder"]["outputs"]["warnings"]]
    assert changed == ["python=3.6", "scikit-learn==0.23.2"]
    assert set(steps["trainer"]["outputs"]["metrics"]) == {"mae", "r2"}
    url = steps["predictor"]["outputs"]["prediction-url"]
    assert url.endswith(f"/v2/models/{APP}/infer")
    asked = json.loads((ROOT / "prediction" / "data-sklearn.json").read_text())
    answer = httpx.post(url, json=asked, timeout=60).json()
    low, high = answer["outputs"][0]["data"]
    assert 3 < low < high < 9
    version = platform.get(f"/models/{APP}/versions/1")
    assert version["runtime"]["kind"] == "onnx"
    assert version["lineage"]["tracking_run"] == steps["trainer"]["outputs"]["tracked_run"]
