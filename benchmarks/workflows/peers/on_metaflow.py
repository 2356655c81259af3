"""Metaflow: steps of a flow, each a process, started by a process for each run."""

import subprocess
import sys
from pathlib import Path

from timing import main

FLOWS = Path(__file__).parent


def run(shape, cached):
    command = [sys.executable, str(FLOWS / f"metaflow_{shape}.py"), "run", "--max-workers", "2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(run)
