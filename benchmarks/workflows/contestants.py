"""Who takes part, and how a program of theirs is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.environments import ROOT, python_of

PEERS = Path(__file__).parent / "peers"
LIMIT_S = 600


def _ours() -> Path:
    return Path(sys.executable)


def _theirs(name: str) -> Callable[[], Path]:
    return lambda: python_of(f"workflows-{name}", PEERS / f"{name}.txt")


@dataclass(frozen=True)
class Contestant:
    """One way to run ten steps. `isolated` when each is a process of its own; `caches` when
    an unchanged step needn't be done again. `home` is what its variables of the environment
    call the folder that it keeps its state in."""

    name: str
    isolated: bool
    caches: bool
    python: Callable[[], Path]
    program: Sequence[str]
    home: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    def cold(self, shape: str, work: Path) -> float:
        """Seconds of a new process on a new home, from its start to its end."""
        began = time.perf_counter()
        self._run(shape, "cold", 1, work)
        return time.perf_counter() - began

    def seconds(self, shape: str, state: str, rounds: int, work: Path) -> list[float]:
        """Seconds of each run in one process, after one that isn't counted."""
        return self._run(shape, state, rounds, work)

    def _run(self, shape: str, state: str, rounds: int, work: Path) -> list[float]:
        with tempfile.TemporaryDirectory(dir=work, ignore_cleanup_errors=True) as home:
            kept = {k: v for k, v in os.environ.items() if not k.startswith("VOLANT_")}
            env = {
                **kept,
                "PEER_ISOLATED": "1" if self.isolated else "",
                "HOME": home,
                "PYTHONPATH": "",
                self.home: home,
                **self.env,
            }
            done = subprocess.run(
                [str(self.python()), *self.program, shape, state, str(rounds)],
                cwd=ROOT if self.python is _ours else home,
                env=env,
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT_S,
            )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def _peer(
    name: str, label: str, home: str, *, isolated: bool, caches: bool = False, **env: str
) -> Contestant:
    program = (str(PEERS / f"on_{name}.py"),)
    return Contestant(label, isolated, caches, _theirs(name), program, home, env)


OURS = ("-m", "benchmarks.workflows.ours")

CONTESTANTS = (
    Contestant("volant", True, True, _ours, OURS, "VOLANT_BENCH_HOME"),
    Contestant("volant, in process", False, True, _ours, OURS, "VOLANT_BENCH_HOME"),
    _peer(
        "metaflow",
        "metaflow",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL",
        isolated=True,
        METAFLOW_USER="bench",
    ),
    _peer("dagster", "dagster", "DAGSTER_HOME", isolated=True, DAGSTER_DISABLE_TELEMETRY="1"),
    _peer(
        "dagster",
        "dagster, in process",
        "DAGSTER_HOME",
        isolated=False,
        DAGSTER_DISABLE_TELEMETRY="1",
    ),
    _peer("prefect", "prefect", "PREFECT_HOME", isolated=True, caches=True, DO_NOT_TRACK="1"),
    _peer(
        "prefect",
        "prefect, in process",
        "PREFECT_HOME",
        isolated=False,
        caches=True,
        DO_NOT_TRACK="1",
    ),
    _peer(
        "zenml",
        "zenml, in process",
        "ZENML_CONFIG_PATH",
        isolated=False,
        caches=True,
        ZENML_ANALYTICS_OPT_IN="false",
    ),
)
