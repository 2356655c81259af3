"""Other people's servers as child processes: started, asked until they answer, ended."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wait import free_port, until

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Server:
    """A server that answers; `start_s` from the start of its process to its first answer."""

    pid: int
    port: int
    start_s: float


@contextmanager
def serving(program: str, *arguments: str) -> Generator[Server]:
    """`programs/<program> <arguments> PORT` until the end of the block."""
    port = free_port()
    command: Sequence[str] = [sys.executable, str(PROGRAMS / program), *arguments, str(port)]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers(port), f"an answer of {program}", every_s=0.01)
        yield Server(child.pid, port, time.perf_counter() - began)
    finally:
        child.terminate()
        child.wait(20)


def answers(port: int) -> bool:
    """Whether `GET /` on the port is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
