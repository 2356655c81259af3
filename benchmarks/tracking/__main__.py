"""`make bench-tracking`: the same client calls against Volant and `mlflow server`.

Ratios are of one run: MLflow's own client, in its own environment, talks to both servers
one after the other on this machine. "beyond" is the ratio of what the calls take beyond one that
does nothing, which is the client's own time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.serving.environments import NotInstalled, python_of
from benchmarks.tracking.fill import copies
from benchmarks.tracking.servers import Server, mlflow, volant

PINS = Path(__file__).parent / "mlflow.txt"
GOAL, GOAL_START = 5.0, 10.0
EMPTY = "(a call that does nothing)"  # what the client itself takes: no server can save it


def measure(server: Server, python: Path, rounds: int, runs: int) -> dict[str, float]:
    """Medians in milliseconds by call, and the server's start and memory."""
    idle = server.memory_mb()
    first, run = client(server, python, "calls", rounds)
    copies(server.database, server.tables, run, runs)
    second, _ = client(server, python, "search", max(3, rounds // 3))
    return {
        "start-up (ms)": server.start_s * 1000,
        "idle memory (MB)": idle,
        **first,
        f"search over {runs} runs": second["search"],
    }


def client(server: Server, python: Path, what: str, rounds: int) -> tuple[dict[str, float], str]:
    """The client's part: medians in milliseconds by call, and the run to copy."""
    program = Path(__file__).parent / "calls.py"
    done = subprocess.run(
        [str(python), str(program), what, str(rounds)],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told = json.loads(done.stdout.splitlines()[-1])
    return {name: statistics.median(values) for name, values in told["ms"].items()}, told["run"]


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="calls of each kind")
    parser.add_argument("--runs", type=int, default=100_000, help="runs to search in")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    try:
        python = python_of("mlflow-tracking", PINS)
    except NotInstalled as error:
        parser.exit(1, f"MLflow can't be installed: {error}\n")
    with tempfile.TemporaryDirectory() as folder:
        with volant(Path(folder) / "volant") as server:
            ours = measure(server, python, asked.rounds, asked.runs)
        with mlflow(Path(folder) / "mlflow", python) as server:
            theirs = measure(server, python, asked.rounds, asked.runs)
    print(machine.text(machine.facts(Path.cwd())))
    print(f"\n{'call (ms)':32}{'Volant':>10}{'mlflow server':>16}{'ratio':>8}{'beyond':>8}  goal")
    for name, mine in ours.items():
        ratio = theirs[name] / mine
        goal = GOAL_START if name.startswith(("start", "idle")) else GOAL
        told = f"≥ {goal:g}: {'yes' if ratio >= goal else 'NO'}"
        beyond = ""
        if name == EMPTY:
            told = ""
        elif not name.startswith(("start", "idle")):
            beyond = f"{(theirs[name] - theirs[EMPTY]) / (mine - ours[EMPTY]):.1f}"
        print(f"{name:32}{mine:10.2f}{theirs[name]:16.2f}{ratio:8.1f}{beyond:>8}  {told}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"volant": ours, "mlflow": theirs}, indent=1))


main()
