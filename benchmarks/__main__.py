"""`python -m benchmarks [NAME…] [--quick] [--json FILE] [--list]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.line import Line
from benchmarks.table import table

FIGURES = (
    "durable_step",
    "ten_steps",
    "control_plane",
    "push_to_serving",
    "from_zero",
    "predictions",
    "counting",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one table, and tell by the exit code whether all goals are met."""
    options = _options(arguments)
    if options.list:
        for name in FIGURES:
            print(f"{name:16} {_module(name).TITLE}")
        return 0
    # Our own source changes; its bytecode shall be written once, not compiled at every start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    lines: list[Line] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="volant-bench-", dir=options.dir) as folder:
        before = machine.facts(Path(folder))
        print(machine.text(before), flush=True)
        if machine.busy(before):
            print("WARNING: the machine is busy; figures taken now say little.", flush=True)
        if not machine.compiled():
            print("WARNING: the libraries aren't compiled; every start pays for it.", flush=True)
        for name in options.figures or FIGURES:
            lines += _measure(name, Path(folder), options.quick, failed)
        after = machine.facts(Path(folder))
    print(f"\n{table(lines)}\n\nload at the end: {after['load'][0]:.2f}")
    if options.json:
        report = {
            "time": datetime.now(UTC).isoformat(),
            "quick": options.quick,
            "machine": {"before": before, "after": after},
            "lines": [line.to_dict() for line in lines],
            "failed": failed,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failed or any(line.met is False for line in lines) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="NAME", help=f"some of: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--dir", type=Path, help="where to work: on the disk to be measured")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.figures if name not in FIGURES]
    if unknown:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(FIGURES)}")
    return options


def _module(name: str):
    return importlib.import_module(f"benchmarks.{name}")


def _measure(name: str, folder: Path, quick: bool, failed: list[str]) -> Sequence[Line]:
    """A figure's lines; none, and a word on standard error, when it can't be taken."""
    work = folder / name
    work.mkdir()
    began = time.monotonic()
    print(f"· {_module(name).TITLE} …", end=" ", flush=True)
    try:
        lines = _module(name).measure(work, quick=quick)
    except Exception as error:  # one figure that can't be taken must not cost the others
        failed.append(name)
        print("failed", flush=True)
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return []
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
