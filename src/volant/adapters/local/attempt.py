"""One process of one job, followed from its fork to its end by the thread that asked."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from volant.adapters.local.joblog import JobLog

_CHUNK = 64 * 1024
_DRAIN_BYTES = 1024 * 1024  # more than a pipe holds
_REAP_S = 5.0  # a process that SIGKILL doesn't end in this time is stuck in the kernel


class Stop(StrEnum):
    """Why a job is being ended from outside."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    CLOSING = "closing"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the process ended. `exit_code` is None when nobody could tell, and minus the
    signal's number when a signal ended it; `stopped` is set when that was our wish."""

    exit_code: int | None
    stopped: Stop | None
    cpu_s: float = 0.0
    peak_bytes: int = 0


class Stopper:
    """How another thread ends a job. Made before the process is, so that no wish is lost."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.reason: Stop | None = None
        self._lock = threading.Lock()
        self._closed = False

    def stop(self, reason: Stop) -> None:
        """Wish for the end; the first reason counts, but for a preemption, whose grace is
        long. Returns at once."""
        with self._lock:
            weak = self.reason in (None, Stop.PREEMPTED) and reason is not self.reason
            if weak and not self._closed:
                self.reason = reason
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self.fd)


class Followed(Protocol):
    """A process that runs. `report` gets one line of JSON when it has ended, with `exit`,
    `cpu_s` and `peak_bytes`, or end of file when nobody can tell. `pid` leads its group."""

    @property
    def pid(self) -> int: ...

    @property
    def report(self) -> int: ...

    def signal(self, number: int) -> None: ...


class Attempt:
    """Follows one process: its output into the log, its deadline, its end.

    `stdout` and `stderr` are the read ends of the job's pipes; all descriptors stay the
    caller's to close.
    """

    def __init__(
        self,
        fork: Followed,
        stdout: int,
        stderr: int,
        log: JobLog,
        stopper: Stopper,
        *,
        timeout_s: float | None,
        grace_s: float,
        preempt_grace_s: float = 120.0,
    ) -> None:
        self._fork = fork
        self._log = log
        self._stopper = stopper
        self._grace_s = grace_s
        self._preempt_grace_s = preempt_grace_s
        self._timeout_s = timeout_s
        self._streams = {stdout: "stdout", stderr: "stderr"}
        self._report = b""
        self._over = False
        self._stopped: Stop | None = None
        # What comes next if nothing else does, and when (monotonic seconds).
        self._next: Callable[[], None] | None = None
        self._next_at = 0.0
        if timeout_s is not None:
            self._plan(timeout_s, self._time_out)

    def follow(self) -> Ending:
        """Return when the process has ended and all that it wrote is in the log."""
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            for fd in self._streams:
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ, self._read_output)
            selector.register(self._fork.report, selectors.EVENT_READ, self._read_report)
            selector.register(self._stopper.fd, selectors.EVENT_READ, self._read_wish)
            while not self._over:
                for key, _ in selector.select(self._wait_s()):
                    key.data(key.fd)
                if self._next is not None and time.monotonic() >= self._next_at:
                    self._next()
        self._drain()
        return self._ending()

    def _wait_s(self) -> float | None:
        return None if self._next is None else max(0.0, self._next_at - time.monotonic())

    def _plan(self, after_s: float, what: Callable[[], None]) -> None:
        self._next = what
        self._next_at = time.monotonic() + after_s

    # what arrives

    def _read_output(self, fd: int) -> None:
        data = self._read(fd)
        if data:
            self._log.feed(self._streams[fd], data)
        elif data is not None:
            self._selector.unregister(fd)

    def _read(self, fd: int) -> bytes | None:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            return None

    def _read_report(self, fd: int) -> None:
        data = os.read(fd, _CHUNK)
        self._report += data
        self._over = not data or self._report.endswith(b"\n")
        if not data:
            # The zygote is gone; the kernel killed the job, but not the job's children.
            self._kill_group()

    def _read_wish(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(fd)
        wish = self._stopper.reason
        if wish is not None and wish is not self._stopped:
            self._end(wish)

    def _drain(self) -> None:
        # All that was written before the end is in the pipes. A process that escaped
        # the group may hold them open, so don't wait for their ends.
        for fd, stream in self._streams.items():
            left = _DRAIN_BYTES
            while left > 0 and (data := self._read(fd)):
                self._log.feed(stream, data)
                left -= len(data)

    # how it is ended

    def _time_out(self) -> None:
        self._end(Stop.TIMEOUT)

    def _end(self, reason: Stop) -> None:
        self._stopped = reason
        grace_s = {
            Stop.CLOSING: min(self._grace_s, 3.0),
            Stop.PREEMPTED: self._preempt_grace_s,
        }.get(reason, self._grace_s)
        why = {
            Stop.TIMEOUT: f"The timeout of {self._timeout_s:g} s is over"
            if self._timeout_s is not None
            else "The timeout is over",
            Stop.CANCELLED: "The run was cancelled",
            Stop.CLOSING: "Volant is stopping",
            Stop.PREEMPTED: "The machine is taken away",
        }[reason]
        self._log.note(f"{why}: SIGTERM, and SIGKILL in {grace_s:g} s.")
        self._fork.signal(signal.SIGTERM)
        self._plan(grace_s, self._kill)

    def _kill(self) -> None:
        self._fork.signal(signal.SIGKILL)
        self._plan(_REAP_S, self._give_up)

    def _give_up(self) -> None:
        self._kill_group()
        self._over = True

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._fork.pid, signal.SIGKILL)

    def _ending(self) -> Ending:
        if not self._report.endswith(b"\n"):
            return Ending(None, self._stopped)
        report = json.loads(self._report)
        return Ending(report["exit"], self._stopped, report["cpu_s"], report["peak_bytes"])
