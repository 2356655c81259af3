"""The recipe for texts on this machine, on its GPU if it has one, with no platform around it:

    PYTHONPATH=src python tests/training/fine_tune_here.py

Needs volant[hf], pyarrow and scikit-learn. Trains a tiny DistilBERT made on the spot, twice:
the second time from the first one's checkpoint. Prints the device and the accuracy.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import torch  # pyright: ignore[reportMissingImports]
from transformers import pipeline  # pyright: ignore[reportMissingImports]

from volant.domain.run import StepContext
from volant.training.recipes.text_classification import fine_tune, newest

GOOD, BAD = ["good", "great", "lovely", "superb"], ["bad", "awful", "poor", "dreadful"]
REST = ["the", "film", "was", "and", "a", "plot", "with", "actors", "in", "it", "but", "music"]
MAKE = Path(__file__).with_name("test_training_fine_tune.py").read_text()
MAKE = MAKE.partition('MAKE = """')[2].partition('"""')[0]


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    words = " ".join([*GOOD, *BAD, *REST])
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "base"), words], check=True)
    dice = random.Random(0)
    moods = [dice.choice(["glad", "cross"]) for _ in range(2000)]
    texts = [
        " ".join([*dice.choices(REST, k=8), *dice.choices(GOOD if m == "glad" else BAD, k=2)])
        for m in moods
    ]
    rows = pa.table({"review": texts, "mood": moods})
    (folder / "checkpoint").mkdir()
    context = StepContext("run", "train", 1, folder, folder / "checkpoint")
    params = {"model": str(folder / "base"), "learning_rate": 2e-3, "checkpoint_s": 0.1}
    for epochs in (4, 8):
        inputs = {"target": "mood", "seed": 0, "params": {**params, "epochs": epochs}}
        began = time.monotonic()
        made = fine_tune(inputs, rows, context, print)
        print(f"{epochs} epochs: {time.monotonic() - began:.1f} s, {made['metrics']}")
        print(f"last checkpoint: {newest(context.checkpoint_dir)}")
    asked = pipeline("text-classification", model=str(folder / "model" / "model"))
    found = [each["label"] for each in asked(texts[:500])]
    right = sum(a == b for a, b in zip(found, moods[:500], strict=True)) / 500
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(json.dumps({"device": device, "accuracy": right, "runtime": made["runtime"]["kind"]}))
    assert right > 0.95


if __name__ == "__main__":
    main()
