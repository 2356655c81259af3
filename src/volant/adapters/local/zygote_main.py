"""The zygote process: imports a profile's modules once, then forks on request.

    python -m volant.adapters.local.zygote_main FD PROFILE IDLE_S MODULE…

`FD` is a unix `SOCK_SEQPACKET` socket to the control plane. Its first packet from here
is the greeting (`{"ok": …}` or `{"error": …}`); every packet to here is a request:

- `{"op": "fork", "id": n, "kind": "job" | "replica"}` with five descriptors: the
  request (a file of JSON), the report pipe, and three of the kind's own;
- `{"op": "signal", "id": n, "signal": s}` for the process group of fork `n`;
- `{"op": "warm"}`, which says only that it is needed.

The report pipe of a fork gets `{"pid": …}` from the child itself, as soon as it stands
on its own feet, and `{"exit": …}` from the zygote when the child has ended. So an end of
file without the first means that nothing runs, and an end of file without the second
that the zygote died.

One thread only, so that a fork copies everything that runs. It opens no network, and it
ends, with its jobs, when the control plane's side of the socket closes.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volant.adapters.local import child
from volant.errors import EXTRAS, Unavailable

# Libraries that start a thread when they are loaded. OpenBLAS starts its pool (a fork
# then computes with one BLAS thread, which leaves the cores to OpenMP and to the other
# processes); Arrow's and delta-rs' jemalloc start a page purger.
IMPORT_ENV: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
# For good: ONNX Runtime 1.29 and later otherwise starts a thread at import that reports
# to its maker over the network.
LASTING_ENV: Mapping[str, str] = {"ORT_DISABLE_TELEMETRY": "1"}

FDS_PER_FORK = 5


class _PreloadFailed(Exception):
    def __init__(self, error: Unavailable) -> None:
        super().__init__(error.what)
        self.error = error


def preload(modules: Sequence[str], profile: str) -> None:
    """Import `modules` with no thread left behind; the heap is then frozen for forks."""
    before = {name: os.environ.get(name) for name in IMPORT_ENV}
    os.environ.update(LASTING_ENV)
    os.environ.update(IMPORT_ENV)
    gc.disable()
    try:
        for module in modules:
            _import(module, profile)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    gc.enable()
    gc.collect()
    gc.freeze()


def _import(module: str, profile: str) -> None:
    """A name with a question mark may be missing."""
    wanted, module = not module.endswith("?"), module.removesuffix("?")
    if not wanted and importlib.util.find_spec(module) is None:
        return
    try:
        importlib.import_module(module)
    except BaseException as error:
        missing = isinstance(error, ModuleNotFoundError)
        name = (error.name or module) if isinstance(error, ModuleNotFoundError) else module
        raise _PreloadFailed(
            Unavailable(
                f"Step processes of profile {profile!r} can't start: importing {module}"
                f" failed with {type(error).__name__}: {error}.",
                _install(name.partition(".")[0])
                if missing
                else f"Run `python -c 'import {module}'` in the environment that runs Volant"
                " and mend what it shows.",
                code="profile_import_failed",
                details={
                    "profile": profile,
                    "module": module,
                    "missing": name if missing else None,
                    "traceback": traceback.format_exc(),
                },
            )
        ) from error
    _check_threads(f"importing {module}", profile)


def _install(name: str) -> str:
    if name in EXTRAS:
        return f"Run: pip install 'volant[{EXTRAS[name]}]'"
    return f"Install {name} in the environment that runs Volant, then try again."


def _check_threads(when: str, profile: str) -> None:
    extra = [thread.name for thread in threading.enumerate()][1:]
    if extra:
        raise _PreloadFailed(
            Unavailable(
                f"Step processes of profile {profile!r} can't fork: {when} started the"
                f" Python thread {extra[0]!r}.",
                "Start threads when a step runs, not when its module is imported.",
                code="profile_has_threads",
                details={"profile": profile, "threads": extra},
            )
        )


def native_threads() -> list[str]:
    """The names of this process's threads besides the first, native ones included."""
    own = str(os.getpid())
    names: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        if task.name != own:
            with contextlib.suppress(OSError):
                names.append((task / "comm").read_text().strip())
    return names


@dataclass
class _Child:
    id: int
    pid: int
    kind: str
    pidfd: int
    report: int


@dataclass
class Zygote:
    """The loop: fork, signal, reap; until the socket closes or nothing was asked for
    `idle_s` seconds while no child runs."""

    control: socket.socket
    profile: str
    idle_s: float | None
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _children: dict[int, _Child] = field(default_factory=dict[int, _Child])

    def serve(self) -> None:
        """Run until there is no more reason to."""
        self._selector.register(self.control, selectors.EVENT_READ, None)
        while True:
            idle = self.idle_s if not self._children else None
            ready = self._selector.select(idle)
            if not ready and idle is not None:
                return
            for key, _ in ready:
                if isinstance(key.data, _Child):
                    self._reap(key.data)
                elif not self._request():
                    self._end_jobs()
                    return

    def _request(self) -> bool:
        try:
            packet, fds = _receive(self.control)
        except ConnectionError:
            return False
        if not packet:
            return False
        request = json.loads(packet)
        if request["op"] == "warm":  # whoever asks needs it soon: it isn't idle yet
            return True
        if request["op"] == "signal":
            self._signal(request["id"], request["signal"])
            return True
        try:
            self._fork(request["id"], request["kind"], fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _signal(self, child_id: int, number: int) -> None:
        # Not reaped yet, so the process group can't be somebody else's.
        for known in self._children.values():
            if known.id == child_id:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(known.pid, number)

    def _fork(self, child_id: int, kind: str, fds: Sequence[int]) -> None:
        request_fd, report, *own = fds
        try:
            _check_threads("an earlier import", self.profile)
            parent = os.getpid()
            pid = os.fork()
        except (OSError, _PreloadFailed) as error:
            _report(report, {"error": f"fork failed: {error}"})
            return
        if pid == 0:
            try:
                self._forget()
                child.main(kind, request_fd, report, own, parent)
            finally:
                os._exit(child.EXIT_BROKEN)
        pidfd = os.pidfd_open(pid)
        known = _Child(child_id, pid, kind, pidfd, os.dup(report))
        self._children[pid] = known
        self._selector.register(pidfd, selectors.EVENT_READ, known)

    def _forget(self) -> None:
        """In a fork: let go of all that is the zygote's."""
        self._selector.close()
        self.control.close()
        for known in self._children.values():
            os.close(known.pidfd)
            os.close(known.report)

    def _reap(self, known: _Child) -> None:
        self._selector.unregister(known.pidfd)
        if known.kind == "job":
            # What the job left running in its group ends with it. The leader is still
            # a zombie, so the group's number can't have been given away.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(known.pid, signal.SIGKILL)
        _, status, usage = os.wait4(known.pid, 0)
        os.close(known.pidfd)
        del self._children[known.pid]
        _report(
            known.report,
            {
                "exit": os.waitstatus_to_exitcode(status),
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024,
            },
        )
        os.close(known.report)

    def _end_jobs(self) -> None:
        jobs = [known for known in self._children.values() if known.kind == "job"]
        for known in jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(known.pid, signal.SIGKILL)


def _receive(control: socket.socket) -> tuple[bytes, Sequence[int]]:
    # Not `socket.recv_fds`: it drops the flag that keeps descriptors from commands.
    fds = array.array("i")
    room = socket.CMSG_LEN(FDS_PER_FORK * fds.itemsize)
    packet, ancillary, _, _ = control.recvmsg(4096, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds)


def _report(fd: int, body: Mapping[str, Any]) -> None:
    # Shorter than PIPE_BUF, so it is whole; nobody may be reading any more.
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, json.dumps(body).encode() + b"\n")


def _pss_bytes() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def main(argv: Sequence[str]) -> int:
    """Greet, then serve. Returns the exit code."""
    fd, profile, idle, *modules = argv
    control = socket.socket(fileno=int(fd))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child.prepare()
    started = time.perf_counter()
    try:
        preload(modules, profile)
    except _PreloadFailed as failure:
        # The traceback may be long: a packet has to fit the socket's buffer.
        failure.error.details["traceback"] = failure.error.details.get("traceback", "")[-8000:]
        with contextlib.suppress(OSError):
            control.send(json.dumps({"error": failure.error.to_dict()}).encode())
        return 1
    greeting = {
        "ok": True,
        "import_s": time.perf_counter() - started,
        "threads": native_threads(),
        "pss_bytes": _pss_bytes(),
    }
    try:
        control.send(json.dumps(greeting).encode())
    except OSError:
        return 0
    Zygote(control, profile, float(idle) or None).serve()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # No interpreter shutdown: nothing here needs it, and it would touch the whole heap.
    os._exit(code)
