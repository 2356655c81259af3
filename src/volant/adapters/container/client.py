"""Calls of the engine that last: each is a process of its own, followed as a job is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volant.adapters.container.engine import Engine
from volant.adapters.container.usage import Meter, Usage
from volant.errors import Unavailable, VolantError

_LOOK_S = 0.05
_FIRST_LOOK_S = 0.005  # a container may live for milliseconds only
_ASK_S = 1.0
_NEVER = "0001-01-01"
PID_FILE = "pid"
_OOM_FILE = "oom"  # conmon, podman's keeper of containers, makes it where it was started


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a container at its end. `exit_code` is minus the signal's number
    where a signal ended it; None when it didn't start, or nobody can tell."""

    exit_code: int | None = None
    started: bool = False
    out_of_memory: bool = False
    used: Usage = field(default_factory=Usage)


class Client:
    """One call. Its output comes from the pipes `stdout` and `stderr`; at its end `report`
    gets a line as `Followed` says. `close` lets go of all three."""

    def __init__(
        self,
        engine: Engine,
        words: Sequence[str],
        environ: Mapping[str, str],
        *,
        quiet: bool,
        cwd: Path | None = None,
    ) -> None:
        self._engine = engine
        self.stdout, out = os.pipe()
        self.stderr, err = os.pipe()
        self.report, self._told = os.pipe()
        try:
            self._process = subprocess.Popen(
                [engine.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else out,
                stderr=err,
                env={**os.environ, **environ},
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            self.close()
            os.close(self._told)
            raise Unavailable(
                f"{engine.program} can't be started: {error.strerror}.",
                "Give the step fewer or smaller inputs; or mend the engine.",
                code="container.engine_failed",
            ) from error
        finally:
            os.close(out)
            os.close(err)
        self.pid = self._process.pid
        self._thread = threading.Thread(target=self._follow, name="volant-container", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def signal(self, number: int) -> None:
        """Signal the call itself."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def close(self) -> None:
        for fd in (self.stdout, self.stderr, self.report):
            os.close(fd)

    def _follow(self) -> None:
        try:
            body = self._ended()
        except Exception as error:  # end of file would tell less
            body = {"exit": None, "cpu_s": 0.0, "peak_bytes": 0, "why": str(error)}
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(self._told, json.dumps(body).encode() + b"\n")
        os.close(self._told)

    def _ended(self) -> dict[str, Any]:
        return {"exit": self._process.wait(), "cpu_s": 0.0, "peak_bytes": 0}

    def _over(self, wait_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
            return True
        return False


class Contained(Client):
    """The call that starts a container and stays with it; a signal goes to the container.

    `folder` is this container's own. `asks`: the engine doesn't write the process's number
    there, and has to be asked for it.
    """

    def __init__(self, engine: Engine, name: str, folder: Path, *, asks: bool) -> None:
        words = ("start", "--attach", "--sig-proxy=false", name)
        super().__init__(engine, words, {}, quiet=False, cwd=folder)
        self._name = name
        self._folder = folder
        self._asks = asks
        self.facts = Facts()

    def signal(self, number: int) -> None:
        with contextlib.suppress(VolantError):  # it has ended, or is killed by force later
            self._engine.call("kill", "--signal", signal.Signals(number).name, self._name)

    def _ended(self) -> dict[str, Any]:
        used = self._measured()
        if (self._folder / _OOM_FILE).exists():
            used = used.joined(Usage(oom_kills=1))
        facts = facts_of(self._engine.state(self._name), used)
        self.facts = facts
        return {
            "exit": facts.exit_code,
            "cpu_s": used.cpu_s,
            "peak_bytes": used.peak_bytes,
        }

    def _measured(self) -> Usage:
        used, meter, wait_s, asked = Usage(), None, _FIRST_LOOK_S, time.monotonic()
        while not self._over(wait_s):
            if meter is None or not meter.found:
                ask = time.monotonic() - asked > _ASK_S
                asked = time.monotonic() if ask else asked
                meter = self._meter(ask)
            if meter is not None and meter.found:
                used = used.joined(meter.read())
                wait_s = min(2 * wait_s, _LOOK_S)
        return used if meter is None else used.joined(meter.read())

    def _meter(self, ask: bool) -> Meter | None:
        """Podman writes the process's number down; docker is asked for it, now and then."""
        pid = 0
        if not self._asks:
            with contextlib.suppress(OSError, ValueError):
                pid = int((self._folder / PID_FILE).read_text())
        elif ask:
            state = self._engine.state(self._name)
            pid = 0 if state is None else int(state.get("Pid") or 0)
        return Meter(pid) if pid > 0 else None


def facts_of(state: Mapping[str, Any] | None, used: Usage) -> Facts:
    """From the engine's words on a container that should have ended."""
    if state is None:
        return Facts(used=used)
    started = not str(state.get("StartedAt") or _NEVER).startswith(_NEVER)
    code = int(state.get("ExitCode", 0))
    if not started or state.get("Running") or state.get("Status") == "running":
        return Facts(started=started, used=used)
    # As a shell does, an engine tells of a signal by 128 and its number.
    if code > 128 and code - 128 in set(signal.Signals):
        code = 128 - code
    killed = bool(state.get("OOMKilled")) or used.oom_kills > 0
    return Facts(code, started=True, out_of_memory=killed, used=used)
