"""The examples of trainings in PyTorch, over pictures and over numbers, as a user has them:
killed on their way, judged, served; and what is served is what PyTorch itself answers after
the same training without a disturbance."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from platform_process import own, wait_for

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "training"
# The same function over the same rows, with no platform around it.
UNDISTURBED = """
import json, sys
import pandas as pd, torch
torch.set_num_threads(1)
told = json.loads(sys.argv[1])
sys.path.insert(0, told["code"])
import train
rows = pd.read_parquet(told["rows"])
model = train.fit(rows[told["columns"]], rows[told["target"]], told["params"], 0,
                  lambda name, value, step: None)
asked = pd.DataFrame(told["asked"])
answer = getattr(model, told["method"])(asked[told["columns"]])
print(json.dumps([torch.get_num_threads(), answer.tolist()]))
"""


@pytest.fixture(scope="module")
def platform(platforms, site, tmp_path_factory):
    return platforms().start(
        PYTHONPATH=str(site),
        OMP_NUM_THREADS="1",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path_factory.mktemp("inductor")),
    )


def example(site: Path, folder: Path, kind: str, epochs: int) -> tuple[Path, str, str]:
    """A copy of the example, its data made and its training long enough to be killed;
    (folder, the loop's name in the example, our own)."""
    place = folder / kind
    shutil.copytree(EXAMPLES / kind, place)
    subprocess.run([sys.executable, "make_data.py"], cwd=place, check=True, timeout=120,
                   env={**os.environ, "PYTHONPATH": str(site)})  # fmt: skip
    source = (place / "volant.yaml").read_text()
    (name,) = (line[6:] for line in source.splitlines() if line.startswith("name: "))
    mine = own(name)
    source = re.sub(r"epochs: \d+", f"epochs: {epochs}", source)
    source = source.replace(f"name: {name}\n", f"name: {mine}\n")
    source = source.replace(f"dataset: {name}", f"dataset: {mine}")
    (place / "volant.yaml").write_text(source)
    return place, name, mine


def trained(platform: Any, place: Path, name: str, mine: str) -> dict[str, Any]:
    """Apply and push as the example says, kill the training at its first checkpoint, and
    follow the run to its end; the outputs of its steps."""
    platform.cli("apply", place / "volant.yaml")
    platform.push(mine, place / f"{name}.csv")
    found = wait_for("a run", lambda: platform.items("/runs", loop=mine), 120)
    stored = platform.home / "artifacts" / "checkpoints" / found[0]["id"] / "train"
    # The second one's folder: the first is in the ledger then.
    wait_for("checkpoints", lambda: [n for n in stored.glob("[0-9]*") if int(n.name) > 1], 300)
    (pid,) = [each.pid for each in platform.family() if each.kind == "step-train"]
    os.kill(pid, signal.SIGKILL)
    run = platform.finished(found[0]["id"])
    log = platform.cli("logs", run["id"], "--step", "train").out
    assert run["state"]["status"] == "succeeded", (run["state"], log)
    assert "going on with epoch" in log
    steps = {step["name"]: step["outputs"] for step in run["state"]["steps"]}
    assert steps["train"]["survived"]["preemptions"] == 1
    assert steps["train"]["survived"]["spared_s"] > 0
    tracked = platform.get(f"/tracking/runs/{steps['train']['tracking_run']}")
    assert tracked["metrics"]["train_loss"] < 0.2
    version = platform.get(f"/models/{mine}/versions/1")
    assert version["stage"] == "champion"
    assert version["runtime"]["kind"] == "native"
    assert "ONNX" in version["runtime"]["reason"]
    return steps


def undisturbed(site: Path, place: Path, **told: Any) -> Any:
    told = {"code": str(place), **told}
    done = subprocess.run(
        [sys.executable, "-c", UNDISTURBED, json.dumps(told)],
        cwd=place, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    threads, answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert threads == 1
    return np.array(answer)


def ask(platform: Any, mine: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    inputs = [
        {
            "name": name,
            "shape": [len(values)],
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "data": values,
        }
        for name, values in columns.items()
    ]
    url = platform.get(f"/deployments/{mine}")["infer_url"]
    answer = httpx.post(url, json={"inputs": inputs}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"] for each in answer.json()["outputs"]}


def test_pictures_are_learned_killed_judged_and_told_apart(platform, site, tmp_path):
    place, name, mine = example(site, tmp_path, "images", epochs=30)
    steps = trained(platform, place, name, mine)
    measured = steps["evaluate"]["metrics"]
    assert measured["accuracy"] >= 0.9
    assert measured["f1"] >= 0.9
    files = sorted((place / "pictures").glob("*.png"))[:6]
    asked = {"picture": [str(file) for file in files]}
    found = ask(platform, mine, asked)
    assert found["prediction"] == ["across", "down", "cross"] * 2
    expected = undisturbed(
        site, place, rows=steps["split"]["train_path"], target="shape", columns=["picture"],
        params={"size": 16, "epochs": 30, "batch": 32, "lr": 0.01}, method="predict_proba",
        asked=asked,
    )  # fmt: skip
    probabilities = np.reshape(found["probabilities"], (6, 3))
    assert np.abs(probabilities - expected).max() < 1e-5
    # A client whose files the server can't read sends the picture itself.
    sent = base64.b64encode(files[0].read_bytes()).decode()
    again = ask(platform, mine, {"picture": [f"data:image/png;base64,{sent}"]})
    assert again["prediction"] == ["across"]
    assert np.allclose(again["probabilities"], probabilities[0], atol=1e-6)


def test_any_training_in_pytorch_is_killed_judged_and_served(platform, site, tmp_path):
    place, name, mine = example(site, tmp_path, "pytorch", epochs=150)
    steps = trained(platform, place, name, mine)
    assert steps["evaluate"]["metrics"]["r2"] >= 0.9
    assert steps["evaluate"]["metrics"]["rmse"] <= 0.3
    asked = {"place": [-1.5, 0.0, 1.0], "time": [0.5, -0.25, 1.0]}
    found = ask(platform, mine, asked)
    expected = undisturbed(
        site, place, rows=steps["split"]["train_path"], target="height",
        columns=["place", "time"], method="predict", asked=asked,
        params={"width": 32, "epochs": 150, "batch": 32, "lr": 0.01},
    )  # fmt: skip
    assert np.abs(np.array(found["prediction"]) - expected).max() < 1e-5
    truth = np.sin(1.5 * np.array(asked["place"])) + 0.5 * np.array(asked["time"]) ** 2
    assert np.abs(np.array(found["prediction"]) - truth).max() < 0.3
