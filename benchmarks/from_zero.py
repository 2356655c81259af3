"""From zero replicas: from the client's connect to the first answer."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import rows
from benchmarks.ask import Asker
from benchmarks.home import running
from benchmarks.line import Line, Samples
from benchmarks.wait import until

TITLE = "first answer from zero replicas"
PROGRAMS = Path(__file__).parent / "programs"


def measure(work: Path, *, quick: bool) -> list[Line]:
    """Again and again: no replica runs, a client connects, asks and reads."""
    count, times = (500, 2) if quick else (rows.ROWS, 10)
    file = rows.write(work / "rows.csv", 1, count)
    with running(work / "home") as home:
        home.apply(work / "loop", idle="1s")
        url = home.serve(file)
        ours: list[float] = []
        for _ in range(times):
            until(lambda: not (home.deployment() or {}).get("replicas"), "zero replicas", 30)
            time.sleep(0.2)
            began = time.perf_counter()
            with Asker.of(url) as asker:
                asker.ask()
            ours.append((time.perf_counter() - began) * 1000)
        model = next((home.folder / "artifacts").rglob("model.onnx"))
        fresh = [_fresh(model) for _ in range(1 if quick else 5)]
    floor = Samples(fresh, "a fresh Python process that loads the same ONNX file and predicts")
    return [Line("first answer from zero", "ms", Samples(ours), floor, at_most=60)]


def _fresh(model: Path) -> float:
    command = [sys.executable, str(PROGRAMS / "answer_once.py"), str(model)]
    began = time.perf_counter()
    subprocess.run([*command, str(len(rows.COLUMNS))], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000
