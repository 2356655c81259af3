"""The two servers: started as their users start them, each on a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import volant as volant_package
from benchmarks.machine import pss_mb
from benchmarks.wait import free_port


@dataclass(frozen=True)
class Server:
    """One that answers: its address, a token if it asks for one, the seconds that its
    start took and the pid of its first process."""

    url: str
    token: str
    start_s: float
    pid: int
    database: Path  # its SQLite file
    tables: Mapping[str, str]  # those of its runs, with the column of the run's id

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        named = {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_TRACKING_TOKEN": self.token}
        return {**os.environ, **{key: value for key, value in named.items() if value}}

    def memory_mb(self) -> float:
        """Proportional set size of all its processes, in MB."""
        return pss_mb(self.pid)


_BESIDE = ("params", "tags", "metrics", "latest_metrics")


@contextmanager
def volant(folder: Path) -> Generator[Server]:
    """`volant up` in the foreground."""
    # Installing compiles a package, the peer's too; a working tree's own code may be newer.
    subprocess.run([sys.executable, "-m", "compileall", "-q", *volant_package.__path__], check=True)
    port = free_port()
    command = [str(Path(sys.executable).parent / "volant"), "--home", str(folder), "up"]
    tables = {"tracked_runs": "id", **dict.fromkeys(_BESIDE, "run_id")}
    url = f"http://127.0.0.1:{port}"
    with _running([*command, "--port", str(port)], url, folder) as (start_s, pid):
        token = (folder / "token").read_text().strip()
        yield Server(url, token, start_s, pid, folder / "volant.db", tables)


@contextmanager
def mlflow(folder: Path, python: Path) -> Generator[Server]:
    """`mlflow server` on SQLite with one worker and the artifact proxy."""
    port = free_port()
    folder.mkdir()
    command = [str(python.parent / "mlflow"), "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    tables = {"runs": "run_uuid", **dict.fromkeys(_BESIDE, "run_uuid")}
    url = f"http://127.0.0.1:{port}"
    with _running(command, url, folder) as (start_s, pid):
        yield Server(url, "", start_s, pid, folder / "mlflow.db", tables)


@contextmanager
def _running(command: list[str], url: str, folder: Path) -> Generator[tuple[float, int]]:
    """Seconds until it answered, and its pid."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder.parent,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _answers(process, url)
        yield time.perf_counter() - started, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise RuntimeError("the server didn't answer within 180 s")
