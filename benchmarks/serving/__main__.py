"""`python -m benchmarks.serving [--only PEER…] [--seconds N] [--quick] [--json FILE]`.

Volant's replica beside other model servers, server and load on one core each, in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.load import tool
from benchmarks.serving import behaviour, contestants, cores, environments, grpc_rate, report
from benchmarks.serving.contestants import Peer
from benchmarks.serving.ours import started
from benchmarks.serving.throughput import Field, Scores, measure_all

NAMES = tuple(dict.fromkeys(peer.name for peer in contestants.PEERS))
PARTS = ("throughput", "behaviour", "grpc")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print Markdown; the exit code tells whether all goals are met."""
    options = _options(arguments)
    if options.install:
        return _install(options.only)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    peers = [p for p in contestants.PEERS if p.name in options.only]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="volant-bench-", dir=options.dir) as folder:
        work = Path(folder)
        before = machine.facts(work)
        print(_heading(before, options), flush=True)
        _made(peers)
        connections = (1, 16) if options.quick else (1, 16, 64)
        scores, found = Scores(), list[behaviour.Found]()
        with started(work) as ours:
            field = Field(ours, work, options.seconds, options.rounds, connections)
            if "throughput" in options.parts:
                scores = measure_all(field, peers)
            if "grpc" in options.parts:
                found += grpc_rate.measure_all(
                    ours, peers, work, max(1, options.seconds / 2), options.rounds
                )
            if "behaviour" in options.parts:
                found += behaviour.measure_all(ours, work, quick=options.quick)
        after = machine.facts(work)
        if options.logs:
            _keep_logs(work, options.logs)
    took = time.monotonic() - began
    _print(scores, found, connections, after["load"][0], took)
    if options.json:
        document = {
            "time": datetime.now(UTC).isoformat(),
            "quick": options.quick,
            "seconds": options.seconds,
            "rounds": options.rounds,
            "machine": {"before": before, "after": after, "cores": cores.text()},
            "versions": {name: environments.version(name) for name in options.only},
            "scores": [score.to_dict() for score in scores.all],
            "absent": scores.absent,
            "goals": report.goals(scores, connections),
            "figures": [
                {"figure": f.figure, "missing": f.reason}
                if isinstance(f, behaviour.Missing)
                else f.to_dict()
                for f in found
            ],
        }
        options.json.write_text(json.dumps(document, indent=1, default=str) + "\n")
    return 1 if report.missed(scores, connections, found) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[*NAMES, []],
        metavar="PEER",
        help=f"these peers alone, or none: {', '.join(NAMES)}",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--seconds", type=float, help="of load a round and cell (2; peers: half)")
    parser.add_argument("--rounds", type=int, help="rounds a cell (3)")
    parser.add_argument("--quick", action="store_true", help="does it run at all? no peers, 1 s")
    parser.add_argument("--install", action="store_true", help="make the environments, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the peers' output there")
    parser.add_argument("--dir", type=Path, help="where to work")
    options = parser.parse_args(arguments)
    if options.only is None:
        options.only = () if options.quick else NAMES
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _heading(facts: dict, options: argparse.Namespace) -> str:
    lines = [
        "## Serving, measured",
        "",
        f"{machine.text(facts)}; {cores.text()}; load by {tool()}; medians of {options.rounds} "
        f"rounds of {options.seconds:g} s (peers: {max(1, options.seconds / 2):g} s).",
    ]
    if options.only:
        pinned = ", ".join(f"{name} {environments.version(name)}" for name in options.only)
        lines += ["", f"Peers: {pinned}."]
    if machine.busy(facts):
        lines += ["", "**The machine is busy**: ratios say something, absolute figures little."]
    return "\n".join([*lines, ""])


def _made(peers: Sequence[Peer]) -> None:
    """Install first: it isn't part of any figure. Who can't be is told in the tables."""
    for name in dict.fromkeys(peer.name for peer in peers):
        try:
            environments.python_of(name)
        except environments.NotInstalled as error:
            print(f"· {name} can't be installed: {error}", flush=True)


def _install(names: Sequence[str]) -> int:
    failed = 0
    for name in names or NAMES:
        try:
            print(name, environments.version(name), environments.python_of(name))
        except environments.NotInstalled as error:
            failed += 1
            print(f"{name} can't be installed: {error}", file=sys.stderr)
    return failed


def _keep_logs(work: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for log in work.glob("*.log"):
        shutil.copy(log, kept)


def _print(
    scores: Scores,
    found: Sequence[behaviour.Found],
    connections: Sequence[int],
    load: float,
    took: float,
) -> None:
    if scores.all:
        print(f"\n{report.throughput(scores)}")
    rows = report.goals(scores, connections)
    if rows:
        heads = ("ratio of requests per second", "goal", "measured", "met", "the other")
        print(f"\n### Goals\n\n{report.markdown(heads, rows)}")
    if found:
        print(f"\n### Behaviour\n\n{report.behaviour(found)}")
    if scores.absent:
        print(f"\n### Not measured\n\n{report.absent(scores)}")
    print(f"\n{report.drift(scores)}\nLoad at the end: {load:.2f}; {took:.0f} s in all.")


if __name__ == "__main__":
    sys.exit(main())
