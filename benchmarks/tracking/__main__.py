"""`make bench-tracking`: the same client calls against Volant and `mlflow server`.

Ratios are of one run: MLflow's own client, in its own environment, talks to both servers
one after the other on this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import machine
from benchmarks.serving.environments import NotInstalled, python_of
from benchmarks.tracking.servers import Server, mlflow, volant

PINS = Path(__file__).parent / "mlflow.txt"
GOAL, GOAL_START = 5.0, 10.0


def measure(server: Server, python: Path, rounds: int, runs: int) -> dict[str, float]:
    """Medians in milliseconds by call, and the server's start and memory."""
    idle = server.memory_mb()
    program = Path(__file__).parent / "calls.py"
    done = subprocess.run(
        [str(python), str(program), str(rounds), str(runs)],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    calls: Mapping[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return {
        "start-up (ms)": server.start_s * 1000,
        "idle memory (MB)": idle,
        **{name: statistics.median(values) for name, values in calls.items()},
    }


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="calls of each kind")
    parser.add_argument("--runs", type=int, default=100_000, help="runs to search in")
    parser.add_argument("--peer-runs", type=int, help="runs for the peer, when it is slow to fill")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    try:
        python = python_of("mlflow-tracking", PINS)
    except NotInstalled as error:
        parser.exit(1, f"MLflow can't be installed: {error}\n")
    peer_runs = asked.peer_runs or asked.runs
    with tempfile.TemporaryDirectory() as folder:
        with volant(Path(folder) / "volant") as server:
            ours = measure(server, python, asked.rounds, asked.runs)
        with mlflow(Path(folder) / "mlflow", python) as server:
            theirs = measure(server, python, asked.rounds, peer_runs)
    print(machine.text(machine.facts(Path.cwd())))
    print(f"\n{'call (ms)':32}{'Volant':>10}{'mlflow server':>16}{'ratio':>8}  goal")
    for (name, mine), (their_name, other) in zip(ours.items(), theirs.items(), strict=True):
        goal = GOAL_START if "(" in name else GOAL
        ratio = other / mine
        told = "yes" if ratio >= goal else "NO"
        label = name if name == their_name else f"{name} / {peer_runs}"
        print(f"{label:32}{mine:10.2f}{other:16.2f}{ratio:8.1f}  ≥ {goal:g}: {told}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"volant": ours, "mlflow": theirs}, indent=1))


main()
