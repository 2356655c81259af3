"""The server as a process of this machine: is one there, start one, stop it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from volant.cli.client import read_server
from volant.errors import Conflict, PermissionDenied, Unavailable, from_dict

START_S = 60.0
_LOOK_S = 0.05


def is_running(home: Path) -> bool:
    """Whether a server holds the home's lock: true from its first moment to its last."""
    try:
        lock = os.open(home / "server.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def start(home: Path, arguments: list[str]) -> dict[str, Any]:
    """Start a server in the background and return its `url` and `pid` once it answers.

    Its own output goes to `logs/server.out`. Raises the error that it ended with.
    """
    logs = home / "logs"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs.mkdir(exist_ok=True)
        output = (logs / "server.out").open("ab")
    except OSError as error:
        raise Unavailable(
            f"{home} can't be written: {error.strerror}.",
            "Give another folder with --home, or mend its permissions.",
        ) from error
    told, tell = os.pipe()
    command = [sys.executable, "-m", "volant.cli.main", "up", "--home", str(home), *arguments]
    with output:
        child = subprocess.Popen(
            [*command, "--ready-fd", str(tell)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(tell,),
            start_new_session=True,
            cwd="/",
        )
    os.close(tell)
    try:
        return _first_word(child, told, logs / "server.out")
    finally:
        os.close(told)


def _first_word(child: subprocess.Popen[bytes], told: int, output: Path) -> dict[str, Any]:
    """What the child says of its start. Zygotes may hold the pipe open after its death, so
    its end is looked for as well."""
    deadline = time.monotonic() + START_S
    heard = b""
    while not heard.endswith(b"\n"):
        if time.monotonic() > deadline:
            child.terminate()
            raise Unavailable(
                f"Volant was not ready within {START_S:.0f} s and was stopped.",
                f"See {output}.",
                code="start_timeout",
            )
        readable, _, _ = select.select([told], [], [], _LOOK_S)
        block = os.read(told, 1 << 16) if readable else b""
        heard += block
        if not block and child.poll() is not None:
            raise Unavailable(
                f"Volant ended with code {child.returncode} before it was ready.",
                f"See {output}.",
                code="start_failed",
            )
    word = json.loads(heard)
    if "error" in word:
        child.wait()
        raise from_dict(word["error"])
    return word


def say(ready_fd: int | None, word: dict[str, Any]) -> None:
    """The child's side: one line for the process that waits, then silence."""
    if ready_fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(ready_fd, json.dumps(word, default=str).encode() + b"\n")
        os.close(ready_fd)


def stop(home: Path, timeout_s: float) -> dict[str, Any] | None:
    """Stop the server that runs on `home` and wait for its end.

    Returns what it had written of itself; None when none runs, and then what a dead one
    left is taken away.
    """
    found = read_server(home)
    if not is_running(home):
        (home / "server.json").unlink(missing_ok=True)
        return None
    pid = found.get("pid")
    if not isinstance(pid, int) or not _holds(pid, home / "server.lock"):
        raise Conflict(
            f"A Volant is just starting or stopping on {home}.",
            "Try again in a moment.",
            code="not_ready",
        )
    _terminate(pid, home)
    deadline = time.monotonic() + timeout_s
    while is_running(home):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Volant (pid {pid}) has not stopped within {timeout_s:g} s.",
                f"Wait with --timeout, or end it: kill -9 {pid}. Nothing committed is lost.",
                code="stop_timeout",
                details={"pid": pid},
            )
        time.sleep(_LOOK_S)
    return found


def _terminate(pid: int, home: Path) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise PermissionDenied(
            f"Volant (pid {pid}) on {home} belongs to another user.", "Stop it as that user."
        ) from error


def _holds(pid: int, lock: Path) -> bool:
    """Whether process `pid` has the lock file open: a record outlives a killed server, and
    its number may be another program's by now."""
    folder = Path(f"/proc/{pid}/fd")
    if not folder.is_dir():
        return False
    try:
        wanted = lock.stat()
        return any(_same(link, wanted) for link in folder.iterdir())
    except OSError:
        return True  # another user's: the signal will tell


def _same(link: Path, wanted: os.stat_result) -> bool:
    try:
        found = link.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def refuse_second(home: Path) -> None:
    """Raises `Conflict`, naming its process, when a server runs on `home`."""
    if not is_running(home):
        return
    found = read_server(home)
    pid, url = found.get("pid", "unknown"), found.get("url", "not ready yet")
    raise Conflict(
        f"A Volant is running on {home} already (pid {pid}, {url}).",
        "Use that one, stop it with `volant down`, or start another with"
        " `volant up --home DIR --port N`.",
        code="home_in_use",
        details={"pid": pid, "home": str(home)},
    )
