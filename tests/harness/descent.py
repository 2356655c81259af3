"""A loop whose training takes many small steps, keeps checkpoints, and writes down each step
that it takes; for tests of what survives its death."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platform_process import Platform

TRAIN = """
import os, time
from pathlib import Path
import numpy as np
from volant.training import checkpoint, checkpoint_dir

class Linear:
    def __init__(self, weights):
        self.weights = weights
    def predict(self, X):
        x = np.c_[np.ones(len(X)), np.asarray(X, float)]
        return np.where(x @ self.weights > 0, "yes", "no")

def fit(X, y, params):
    state = checkpoint_dir() / "state.npz"
    x, truth = np.c_[np.ones(len(X)), X.to_numpy(float)], np.where(y == "yes", 1.0, 0.0)
    weights, step = np.zeros(x.shape[1]), 0
    if state.exists():
        saved = np.load(state)
        weights, step = saved["weights"], int(saved["step"])
    with open(params["steps"], "a", buffering=1) as steps:
        while step < params["until"]:
            weights = weights - 0.5 * x.T @ (1 / (1 + np.exp(-x @ weights)) - truth) / len(x)
            step += 1
            steps.write(f"{os.getpid()} {step}\\n")
            if step % 10 == 0:
                draft = state.with_name("draft.tmp.npz")
                np.savez(draft, weights=weights, step=step)
                draft.rename(state)
                if params["asks"]:
                    checkpoint()
            time.sleep(params["pause"])
            while step in params["holds"] and not Path(f"{params['steps']}.{step}").exists():
                time.sleep(0.01)
    Path(params["steps"] + ".weights").write_text(repr(weights.tolist()))
    return Linear(weights)
"""


class Descent:
    """One loop of it. `taken`: (process, step) in order. It waits after each step in `holds`
    until `let` lets it go on."""

    def __init__(self, platform: Platform, name: str, **params: Any) -> None:
        self.platform, self.name = platform, name
        self.folder = platform.folder / name
        self.folder.mkdir()
        self.steps = self.folder.parent / f"{name}.steps"
        params = {
            "steps": str(self.steps),
            "until": 60,
            "pause": 0.02,
            "asks": True,
            "holds": [],
            **params,
        }
        (self.folder / "train.py").write_text(TRAIN)
        source = [
            *("kind: Loop", f"name: {name}", f"data: {{dataset: {name}, target: label}}"),
            'train: {call: "train:fit", task: classification, params: ' + json.dumps(params) + "}",
            "gate: {champion: false}",
        ]
        (self.folder / "volant.yaml").write_text("\n".join(source))

    def apply(self) -> None:
        self.platform.cli("apply", self.folder / "volant.yaml")

    @property
    def taken(self) -> list[tuple[int, int]]:
        if not self.steps.exists():
            return []
        lines = self.steps.read_text().splitlines()
        return [(int(a), int(b)) for a, b in (line.split() for line in lines)]

    def let(self, step: int) -> None:
        Path(f"{self.steps}.{step}").touch()

    def past(self, step: int) -> bool:
        return any(done > step for _, done in self.taken)

    @property
    def weights(self) -> str:
        return Path(f"{self.steps}.weights").read_text()

    def stored(self) -> list[Path]:
        """Files in the artifact store that belong to checkpoints."""
        return [p for p in (self.platform.home / "artifacts/checkpoints").rglob("*") if p.is_file()]
