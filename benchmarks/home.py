"""A Volant of its own for a figure: started as a user does, on a home that goes away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ask import Asker
from benchmarks.wait import free_port, until
from volant.cli.client import Client, find_server
from volant.cli.options import Options

PROGRAMS = Path(__file__).parent / "programs"
LOOP = "bench"
DATASET = "bench-rows"


@dataclass(frozen=True)
class Home:
    """A platform that runs; `start_s` is what `volant up --detach` took."""

    folder: Path
    pid: int
    start_s: float
    client: Client

    def volant(self, *arguments: str) -> None:
        """Run a command of `volant` against it."""
        run_volant(self.folder, arguments)

    def apply(self, folder: Path, *, idle: str = "60s") -> None:
        """Apply the loop of `programs/train.py`, whose gate lets every model through."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROGRAMS / "train.py", folder)
        (folder / "volant.yaml").write_text(_LOOP.format(idle=idle))
        self.volant("apply", str(folder / "volant.yaml"))

    def deployment(self) -> Mapping[str, Any] | None:
        """The loop's deployment; None before there is one."""
        found = self.client.get("/deployments")["items"]
        return next((item for item in found if item["name"] == LOOP), None)

    def push(self, file: Path) -> None:
        """`volant data push`, which returns once the push is stored."""
        self.volant("data", "push", DATASET, str(file))

    def answers_as(self, version: int) -> bool:
        """Whether the deployment's answer comes from `version`. Raises when a run failed."""
        found = self.deployment()
        if found and found["live_version"] == version:
            with Asker.of(found["infer_url"]) as asker:
                return asker.ask()["model_version"] == str(version)
        for run in self.client.get("/runs", limit=3)["items"]:
            status = (run.get("state") or run).get("status")
            if status == "failed":
                raise RuntimeError(f"the run {run['id']} failed: {run}")
        return False

    def serve(self, file: Path) -> str:
        """Push `file`, wait for its model; returns where it is asked."""
        self.push(file)
        until(lambda: self.answers_as(1), "a model", timeout_s=180, every_s=0.02)
        found = self.deployment()
        assert found is not None
        return found["infer_url"]

    def train_outputs(self) -> Mapping[str, Any]:
        """What the newest run's training step told."""
        run = self.client.get("/runs", loop=LOOP, limit=1)["items"][0]
        state = self.client.get(f"/runs/{run['id']}")["state"]
        return next(s["outputs"] for s in state["steps"] if s["name"] == "train")


_LOOP = """\
kind: Loop
name: bench
data:
  dataset: bench-rows
  target: label
train:
  call: "train:fit"
  task: classification
gate:
  champion: false
deploy:
  replicas: {{min: 0, max: 1, idle: {idle}}}
"""


@contextmanager
def running(folder: Path, **env: str) -> Generator[Home]:
    """A platform on `folder` and a free port; `env` is added to its environment."""
    port = free_port()
    began = time.perf_counter()
    run_volant(folder, ("up", "--detach", "--port", str(port)), env)
    took = time.perf_counter() - began
    try:
        pid = json.loads((folder / "server.json").read_text())["pid"]
        with Client(*find_server(Options(home=folder))) as client:
            yield Home(folder, pid, took, client)
    finally:
        run_volant(folder, ("down",))
        shutil.rmtree(folder, ignore_errors=True)


def run_volant(
    folder: Path, arguments: Sequence[str], env: Mapping[str, str] | None = None
) -> None:
    """`volant <arguments> --home <folder>`, as a process. Raises with what it said."""
    command = [str(Path(sys.executable).with_name("volant")), *arguments, "--home", str(folder)]
    own = {k: v for k, v in os.environ.items() if not k.startswith("VOLANT_")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**own, **(env or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
