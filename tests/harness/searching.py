"""A loop that searches, and what must be so when its search has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platform_process import Platform, loop_file, outputs

TRIALS = 6
# Slow enough to be caught at it, and sure of what is best: the deepest tree.
TRAIN = """
import time
from sklearn.tree import DecisionTreeClassifier

def fit(X, y, params, trial, seed):
    for step in range(params["steps"]):
        trial.report(step, 1 / params["depth"])
        time.sleep(0.05)
    model = DecisionTreeClassifier(max_depth=params["depth"], random_state=seed).fit(X, y)
    return model, {"val_loss": 1 / params["depth"]}
"""
TUNE = f"""call: "train:fit"
  params: {{steps: 4}}
  tune:
    space: {{depth: {{int: [1, {TRIALS}]}}}}
    sampler: grid
    pruner: none
    trials: 20
    parallel: 2
    metric: val_loss
    direction: minimize"""


def searching_loop(platform: Platform, name: str, train: str = TRAIN, tune: str = TUNE) -> Path:
    """Apply a loop of that name which searches; returns its file."""
    folder = platform.folder / f"{name}-project"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(train)
    file = folder / "volant.yaml"
    file.write_text(loop_file(name, train=tune, more="gate: {champion: false}\n"))
    platform.cli("apply", file)
    return file


def check_search(platform: Platform, run: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Every trial is there once, as a run below the search's; the best one was trained."""
    assert run["state"]["status"] == "succeeded", run["state"]
    search = outputs(run, "tune")["search"]
    states = {key: search[key] for key in ("complete", "pruned", "failed", "running")}
    assert states == {"complete": TRIALS, "pruned": 0, "failed": 0, "running": 0}
    assert search["best"]["params"] == {"depth": TRIALS}
    trained = platform.get(f"/tracking/runs/{run['id']}")
    assert trained["params"]["depth"] == str(TRIALS)
    assert trained["tags"]["volant.search_run"] == search["run"]
    experiment = platform.get("/experiments", name=name)["items"][0]["experiment"]["id"]
    below = f"tags.mlflow.parentRunId = '{search['run']}'"
    trials = platform.items(f"/experiments/{experiment}/runs", filter=below)
    assert sorted(trial["params"]["depth"] for trial in trials) == [
        str(depth) for depth in range(1, TRIALS + 1)
    ]
    for trial in trials:
        assert trial["status"] == "FINISHED"
        assert trial["metrics"]["val_loss"] == 1 / int(trial["params"]["depth"])
        points = platform.get(f"/tracking/runs/{trial['id']}/metrics", key="val_loss")["items"]
        assert [point["step"] for point in points] == [0, 1, 2, 3]
    parent = platform.get(f"/tracking/runs/{search['run']}")
    assert parent["status"] == "FINISHED"
    assert parent["metrics"]["val_loss"] == 1 / TRIALS  # the best
    curve = platform.get(f"/tracking/runs/{search['run']}/metrics", key="val_loss")["items"]
    assert [point["step"] for point in curve] == list(range(1, TRIALS + 1))
    decisions = [
        each for each in platform.items(f"/loops/{name}/decisions") if each["run_id"] == run["id"]
    ]
    (chosen,) = (each for each in decisions if each["kind"] == "tune")
    assert f"{TRIALS} trials ({TRIALS} complete, 0 pruned, 0 failed)" in chosen["reason"]
    return search
