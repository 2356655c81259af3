"""Schemathesis, as its users run it: an OpenAPI document against the server that gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# A schema can't say that `data` has as many values as `shape` says: what fits it may
# still be refused, so that one check is left to other tests.
UNSAID = "positive_data_acceptance"


def disagreements(
    url: str, folder: Path, *options: str, examples: int, excluded: str = UNSAID, timeout_s: float
) -> str:
    """What the server at `url` answers that its `/openapi.json` doesn't say, and each 5xx;
    nothing when all agrees. `options` are Schemathesis' own."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", url, f"--max-examples={examples}", f"--exclude-checks={excluded}"),
            *("--no-color", "--request-timeout=20", "--warnings=off", *options),
            # CI tries the same each time; elsewhere each run tries something new.
            *(["--generation-deterministic"] if os.environ.get("CI") else []),
        ],
        cwd=folder,  # it keeps what it found beside it
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    told = done.stdout + done.stderr
    if done.returncode == 0:
        assert "Test cases:" in told, told  # it did ask something
        return ""
    return told
