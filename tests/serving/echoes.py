"""A model that answers what it was given."""

from __future__ import annotations

import json
from pathlib import Path

ECHO = """
class Model:
    def predict(self, inputs):
        return {f"{name}_out": value for name, value in inputs.items()}
"""
SLEEPY = """
import time

class Model:
    def predict(self, inputs):
        for value in inputs.values():
            if value.dtype == "float32" and value.size and value.flat[0] < 0:
                time.sleep(-float(value.flat[0]))
        return {f"{name}_out": value for name, value in inputs.items()}
"""


def echo_model(folder: Path, datatypes: list[str], code: str = ECHO) -> Path:
    """Answers each input as it came; with `SLEEPY`, a float below zero makes it sleep as long."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "model.py").write_text(code)
    body = {
        "format": 1,
        "task": "custom",
        "signature": {
            "kind": "tensors",
            "inputs": [{"name": d, "datatype": d, "shape": [-1, -1]} for d in datatypes],
            "outputs": [{"name": f"{d}_out", "datatype": d, "shape": [-1, -1]} for d in datatypes],
        },
        "runtime": {"kind": "code", "file": "code"},
    }
    (folder / "volant.json").write_text(json.dumps(body))
    return folder
