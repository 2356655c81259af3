"""Servers as child processes: pinned, asked until they answer rightly, ended with all theirs."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving import cores
from benchmarks.serving.wires import Question

START_S = 90.0
_END_S = 8.0


class NotServing(Exception):
    """A server that doesn't start or doesn't answer rightly; the text is the reason."""


@contextmanager
def child(
    command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path
) -> Generator[subprocess.Popen[bytes]]:
    """Run `command` on the servers' core in a session of its own; end the whole session."""
    with log.open("wb") as out, cores.on(cores.SERVER):
        process = subprocess.Popen(
            command,
            env={**env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    # Whoever of its session is left: workers of a parent that ended first.
    for pid in _session(process.pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait(_END_S)


def _session(leader: int) -> Sequence[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            found.append(int(stat.parent.name))
    return found


def environment(**more: str) -> Mapping[str, str]:
    """One thread for everybody's linear algebra: each server has one core."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    own = {k: v for k, v in os.environ.items() if not k.startswith(("VOLANT_", "PYTHONPATH"))}
    return {**own, **one, **more}


def ask(port: int, question: Question, timeout: float = 20) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers (names in lower case) of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", question.path, question.body, dict(question.headers))
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, body, {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def until_answers(
    process: subprocess.Popen[bytes], port: int, question: Question, log: Path
) -> None:
    """Raises `NotServing` with what the server said last."""
    deadline = time.monotonic() + START_S
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotServing(f"it ended with {process.returncode}: {tail(log)}")
        try:
            status, body, _ = ask(port, question)
            if status == 200:
                return
            last = f"{status} {body[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(0.1)
    raise NotServing(f"no answer within {START_S:g} s ({last}): {tail(log)}")


def tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:])[-300:] or "it said nothing"
