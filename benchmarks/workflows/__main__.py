"""`make bench-workflows`: ten steps that do nothing, one after the other and side by side.

Volant and its peers, each in an environment of its own and one at a time. The unit is ten
plain forks: `os.fork`, exit and wait in a Python process that has the imports of a step's
zygote, taken again beside every contestant.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.serving.environments import NotInstalled
from benchmarks.workflows.contestants import CONTESTANTS, Contestant

SHAPES = ("chain", "fan")
STATES = ("cold", "warm", "cached")
FORKS = Path(__file__).parents[1] / "programs" / "forks.py"
IMPORTS = ("json", "volant.adapters.local.child")  # of the zygote whose forks our steps are
STEPS = 10
GOAL_STEP_MS, GOAL_IN_PROCESS_MS, GOAL_CACHED_MS, GOAL_PEERS = 15.0, 5.0, 100.0, 10.0

_HEAD = f"{'':22}{'shape':7}{'state':8}{'median ms':>10}{'least–most':>18}{'÷ 10 forks':>12}"

Figures = dict[tuple[str, str, str], list[float]]


def forks(rounds: int = 9) -> float:
    """Seconds of ten plain forks, the median."""
    command = [sys.executable, str(FORKS), str(STEPS), str(rounds), *IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return statistics.median(float(line) for line in done.stdout.split())


def measure(who: Contestant, rounds: int, colds: int, work: Path, figures: Figures) -> float:
    """All of a contestant's figures, and seconds of ten forks: the median of those taken
    before each shape and after the last."""
    floors: list[float] = []
    for shape in SHAPES:
        floors.append(forks())
        figures[who.name, shape, "cold"] = [who.cold(shape, work) for _ in range(colds)]
        figures[who.name, shape, "warm"] = who.seconds(shape, "warm", rounds, work)
        if who.caches:
            figures[who.name, shape, "cached"] = who.seconds(shape, "cached", rounds, work)
    return statistics.median([*floors, forks()])


def table(
    figures: Figures, floors: dict[str, float], names: Sequence[str], *, head: bool = True
) -> str:
    """Medians in milliseconds, the least and the most, and how many times ten forks."""
    lines = [_HEAD] if head else []
    for name in names:
        for shape in SHAPES:
            for state in STATES:
                if (found := figures.get((name, shape, state))) is None:
                    continue
                middle = statistics.median(found)
                spread = f"{min(found) * 1000:.0f}–{max(found) * 1000:.0f}"
                ratio = middle / floors[name]
                lines.append(
                    f"{name:22}{shape:7}{state:8}{middle * 1000:10.0f}{spread:>18}{ratio:12.1f}"
                )
    return "\n".join(lines)


def goals(figures: Figures, isolating: Sequence[str]) -> list[tuple[str, str, bool]]:
    """What was wished for, what is, and whether that is enough."""

    def median(name: str, shape: str, state: str) -> float:
        return statistics.median(figures[name, shape, state]) * 1000

    found: list[tuple[str, str, bool]] = []
    ours = median("volant", "chain", "warm")
    for name, state, goal, each in (
        ("volant", "warm", GOAL_STEP_MS, STEPS),
        ("volant, in process", "warm", GOAL_IN_PROCESS_MS, STEPS),
        ("volant", "cached", GOAL_CACHED_MS, 1),
    ):
        value = median(name, "chain", state) / each
        what = "a step" if each > 1 else f"{STEPS} steps"
        told = f"{name}, {state}: {value:.1f} ms {what}"
        found.append((told, f"≤ {goal:g} ms", value <= goal))
    peers = [
        median(name, "chain", "warm") for name in isolating if (name, "chain", "warm") in figures
    ]
    if peers:
        times = min(peers) / ours
        told = f"the fastest peer that isolates steps takes {times:.0f} times as long"
        found.append((told, f"≥ {GOAL_PEERS:g}", times >= GOAL_PEERS))
    return found


def main() -> int:
    """Measure, print, and tell by the exit code whether the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflows", description=__doc__)
    known = [who.name for who in CONTESTANTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {'; '.join(known)}")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each kind")
    parser.add_argument("--colds", type=int, default=3, help="new processes of each kind")
    parser.add_argument("--json", type=Path, help="write all samples there")
    asked = parser.parse_args()
    before = machine.facts(Path.cwd())
    print(machine.text(before), flush=True)
    if machine.busy(before):
        print("WARNING: the machine is busy; figures taken now say little.", flush=True)
    figures: Figures = {}
    floors: dict[str, float] = {}
    taking_part = [who for who in CONTESTANTS if who.name in (asked.names or known)]
    with tempfile.TemporaryDirectory(prefix="volant-bench-") as folder:
        for who in taking_part:
            print(f"· {who.name} …", flush=True)
            try:
                who.python()
                floors[who.name] = measure(who, asked.rounds, asked.colds, Path(folder), figures)
                print(table(figures, floors, [who.name], head=False), flush=True)
            except NotInstalled as error:
                print(f"  can't be installed: {error}", flush=True)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"  failed: {error}", flush=True)
    print(f"\n{table(figures, floors, [who.name for who in taking_part])}\n")
    print("10 plain forks: " + ", ".join(f"{s * 1000:.1f} ms ({n})" for n, s in floors.items()))
    isolating = [who.name for who in CONTESTANTS if who.isolated and who.name != "volant"]
    met = True
    if {"volant", "volant, in process"} <= floors.keys():
        for told, goal, good in goals(figures, isolating):
            met = met and good
            print(f"{told:70} {goal:10} {'yes' if good else 'NO'}")
    if asked.json is not None:
        samples = {" / ".join(key): value for key, value in figures.items()}
        report = {"machine": before, "forks": floors, "seconds": samples}
        asked.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
