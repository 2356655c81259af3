"""Coverage may only rise: fails below the floor in `tests/coverage_floor.txt`, and when
coverage has risen by more than a point says which number to write there.

What only forks of a zygote run (replicas, steps) counts as uncovered, although tests run it:
coverage doesn't follow forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FLOOR = Path(__file__).with_name("coverage_floor.txt")


def coverage(*args: str) -> str:
    command = [sys.executable, "-m", "coverage", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    total = float(coverage("report", "--format=total", "--precision=1"))
    floor = float(FLOOR.read_text())
    print(f"coverage {total:.1f} % (floor {floor:.1f} %)")
    if total < floor:
        print(coverage("report", "--skip-covered", "--sort=miss"))
        print(f"Coverage fell below {floor:.1f} %. Test what this change adds.")
        return 1
    if total > floor + 1:
        print(f"It rose: write {total - 0.5:.1f} into {FLOOR.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
