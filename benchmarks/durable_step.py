"""What a durable step costs beyond its own work."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from benchmarks.engine_bench import chains
from benchmarks.line import Line, Samples

TITLE = "durable step overhead"


def measure(work: Path, *, quick: bool) -> list[Line]:
    """Steps that do nothing, in chains of two lengths: the slope is a step's cost, so the
    cost of starting and ending a run isn't in it."""
    short, long, times = (2, 6, 2) if quick else (10, 60, 9)
    ours: list[float] = []
    run_costs: list[float] = []
    floor: list[float] = []
    with chains(work / "durable-step", lambda _request: {"rows": 1}) as bench:
        for _ in range(1 if quick else 3):
            bench.seconds(short)
        for _ in range(times):
            low, high = bench.seconds(short), bench.seconds(long)
            step = (high - low) / (long - short)
            ours.append(step * 1000)
            run_costs.append((low - short * step) * 1000)
            floor.append(commit_ms(work / "floor.db", 20 if quick else 300))
    commit = Samples(floor, "one SQLite commit a step, same pragmas, 1 kB of JSON")
    return [
        Line("durable step", "ms", Samples(ours), commit, at_most=3),
        Line("durable run, without its steps", "ms", Samples(run_costs), commit),
    ]


def commit_ms(path: Path, count: int) -> float:
    """Milliseconds of a transaction that inserts one row, WAL, synchronous=NORMAL."""
    body = json.dumps({"outputs": {"text": "x" * 1000}})
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS steps (id TEXT PRIMARY KEY, body TEXT)")
        began = time.perf_counter()
        for i in range(count):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO steps VALUES (?, ?)", (f"{began}-{i}", body))
            connection.execute("COMMIT")
        return (time.perf_counter() - began) / count * 1000
    finally:
        connection.close()
