"""The control plane's side of the zygotes: one per profile, started when it is needed,
started again when it died, ended when it has been idle."""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from volant.adapters.local.environments import python_of
from volant.adapters.local.replicas import Replicas
from volant.errors import InvalidInput, Unavailable, VolantError, from_dict
from volant.ports.replicas import ReplicaOrder

COMMAND_PROFILE = "command"  # imports nothing: shell commands fork from it
_MAIN = "volant.adapters.local.zygote_main"
_TRIES = 3
_ACK_S = 30.0
# no step needs them
_SECRETS = ("VOLANT_TOKEN", "VOLANT_DATABASE_URL", "VOLANT_SECRET_KEY", "VOLANT_SECRET_KEY_OLD")


@dataclass(slots=True)
class Fork:
    """A child that runs. `report` (owned by the caller) gets its exit report, a line
    of JSON, or end of file when its zygote died with it."""

    id: int
    pid: int
    report: int
    zygote: Zygote

    def signal(self, number: int) -> None:
        """Signal its process group; does nothing once it has ended."""
        self.zygote.send({"op": "signal", "id": self.id, "signal": int(number)}, ())


class Zygote:
    """One zygote process and the thread that starts it and waits for its end."""

    def __init__(
        self,
        profile: str,
        modules: Sequence[str],
        idle_s: float | None,
        start_s: float,
        python: str = sys.executable,
    ) -> None:
        self.profile = profile
        self._python = python
        self.greeting: Mapping[str, Any] = {}
        self.pid: int | None = None
        self.ended = threading.Event()
        self._error: VolantError | None = None
        self._started = threading.Event()
        self._modules = modules
        self._idle_s = idle_s
        self._start_s = start_s
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(
            target=self._keep, args=(theirs,), name=f"volant-zygote-{profile}", daemon=True
        )
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether `ready` would return at once."""
        return self._started.is_set()

    def ready(self) -> None:
        """Wait until it can fork. Raises `Unavailable` when it can't start."""
        self._started.wait()
        if self._error is not None:
            raise self._error

    def send(self, request: Mapping[str, Any], fds: Sequence[int]) -> bool:
        """Whether the request was handed over; a zygote that is dead takes none."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with self._lock:
            if self._closed:
                return False
            try:
                # Without waiting: a zygote that doesn't read is as good as dead.
                self._control.sendmsg([json.dumps(request).encode()], rights, socket.MSG_DONTWAIT)
            except OSError:
                return False
            return True

    def close(self) -> None:
        """End it, with its jobs. Its replicas live until their control sockets close."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # Not closed: the starting thread may be waiting on this descriptor.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> None:
        """Wait until its process is gone; kill it when that takes too long."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.kill()
            self._thread.join(timeout_s)

    def kill(self) -> None:
        """End it at once; the kernel ends its jobs."""
        self.close()
        if self._process is not None:
            self._process.kill()

    def _keep(self, theirs: socket.socket) -> None:
        try:
            with tempfile.TemporaryFile() as stderr:
                process = self._spawn(theirs, stderr)
                try:
                    self._greet(process, stderr)
                finally:
                    self._started.set()
                    process.wait()
        except OSError as error:
            self._error = Unavailable(
                f"The {self.profile} zygote can't be started: {error.strerror}.",
                "Free some memory or processes on this machine, then try again.",
            )
        finally:
            self.ended.set()
            self._started.set()
            self.close()
            with self._lock:
                self._control.close()

    def _spawn(self, theirs: socket.socket, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        with theirs:
            fd = theirs.fileno()
            idle = str(self._idle_s or 0)
            process = subprocess.Popen(
                # -P: a file in the folder that Volant was started from can't stand in for
                # a library.
                [self._python, "-P", "-m", _MAIN, str(fd), self.profile, idle, *self._modules],
                pass_fds=(fd,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=env,
                # Its own session: Ctrl-C in the terminal is the control plane's to handle.
                start_new_session=True,
            )
        self._process = process
        self.pid = process.pid
        return process

    def _greet(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        packet = b""
        with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            if selector.select(self._start_s):
                packet = self._control.recv(1 << 16)
        greeting: Mapping[str, Any] = json.loads(packet) if packet else {}
        if greeting.get("ok"):
            self.greeting = greeting
            return
        if "error" in greeting:
            self._error = from_dict(greeting["error"])
            return
        process.kill()
        code = process.wait()
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4000))
        said = stderr.read().decode("utf-8", errors="replace").strip()
        self._error = Unavailable(
            f"The {self.profile} zygote ended (exit code {code}) before it was ready:"
            f" {said.splitlines()[-1] if said else 'it said nothing'}.",
            "Try again; if it stays so, look at `details` and at the machine's free memory.",
            code="zygote_died",
            details={"profile": self.profile, "exit_code": code, "stderr": said},
        )


class ZygoteLauncher:
    """`ReplicaLauncher` on zygotes; `LocalCompute` forks its jobs from it, too.

    Args:
        profiles: For each profile, the modules to import before the first fork.
        idle_s: A zygote that had no child and no request for so long ends; None: never.
        resident: Profiles whose zygote never ends for idleness.
        start_s: How long a zygote may import.
        environments: Where models' own environments are: the profile `NAME@KEY` is the
            profile `NAME` on the interpreter of the environment `KEY`.

    Thread-safe. Its methods raise `InvalidInput` for an unknown profile and
    `Unavailable` (code `profile_import_failed`, with the module) when a zygote can't start.
    """

    def __init__(
        self,
        profiles: Mapping[str, Sequence[str]],
        *,
        idle_s: float | None = 60.0,
        resident: frozenset[str] = frozenset({"serve"}),
        start_s: float = 120.0,
        environments: Path | None = None,
    ) -> None:
        self._environments = environments
        self._profiles = {COMMAND_PROFILE: (), **profiles}
        self._idle_s = idle_s
        self._resident = resident
        self._start_s = start_s
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._zygotes: dict[str, Zygote] = {}
        self._replicas = Replicas(_read_line)
        self._closed = False

    def launch(self, order: ReplicaOrder, listen_fd: int, control_fd: int) -> int:
        """Fork one replica; returns its pid. Its output is appended to `log_path`."""
        bounds = self._replicas.bound(order)
        log = _open_log(order.log_path)
        try:
            request = bounds.request(order)
            fork = self.fork(order.profile, "replica", request, (log, listen_fd, control_fd))
        except BaseException:
            bounds.remove()
            raise
        finally:
            os.close(log)
        self._replicas.add(fork.pid, fork.report, bounds)
        return fork.pid

    def prepared(self, profile: str) -> bool:
        """Whether the profile's zygote runs; it is started if not. Raises what kept it
        from starting, once."""
        with self._lock:
            known = self._zygotes.get(profile)
        zygote = known or self._zygote(profile)
        if not zygote.started:
            return False
        try:
            zygote.ready()
        except VolantError:
            self._forget(zygote)
            raise
        if zygote.ended.is_set():  # it was idle, or killed
            self._zygote(profile)
            return False
        return True

    def ended(self, pid: int, wait_s: float) -> str | None:
        """How a replica ended; see `ReplicaLauncher`."""
        return self._replicas.ended(pid, wait_s)

    def warm(self, profile: str) -> None:
        """Start the profile's zygote in the background, if it doesn't run; else it stays
        for as long again as an idle one does."""
        with contextlib.suppress(VolantError):
            zygote = self._zygote(profile)
            if zygote.started:  # one that still imports reads nothing
                zygote.send({"op": "warm"}, ())

    def fork(self, profile: str, kind: str, request: Mapping[str, Any], fds: Sequence[int]) -> Fork:
        """Fork a child that runs `request`, with copies of `fds`.

        A zygote that ended or was killed meanwhile is replaced. Raises `Unavailable`.
        """
        with _as_file(request) as request_fd:
            for _ in range(_TRIES):
                zygote = self._zygote(profile)
                zygote.ready()
                fork = self._ask(zygote, kind, (request_fd, *fds))
                if fork is not None:
                    return fork
                self._forget(zygote)
        raise Unavailable(
            f"The {profile} zygote died {_TRIES} times while it was asked to fork.",
            "Look at the machine's free memory, then try again.",
            code="zygote_died",
        )

    def greetings(self) -> Mapping[str, Mapping[str, Any]]:
        """What each running zygote said when it was ready: import_s, threads, pss_bytes."""
        with self._lock:
            return {name: zygote.greeting for name, zygote in self._zygotes.items()}

    def pids(self) -> Mapping[str, int]:
        """The process of each zygote that runs."""
        with self._lock:
            zygotes = dict(self._zygotes)
        return {
            name: zygote.pid
            for name, zygote in zygotes.items()
            if zygote.pid is not None and not zygote.ended.is_set()
        }

    def pss_bytes(self) -> int:
        """Proportional set size of all zygotes and their children together."""
        return sum(_family_pss(pid) for pid in self.pids().values())

    def close(self) -> None:
        """End every zygote and its jobs, and wait until they are gone."""
        with self._lock:
            self._closed = True
            zygotes, self._zygotes = list(self._zygotes.values()), {}
        for zygote in zygotes:
            zygote.close()
        for zygote in zygotes:
            zygote.join(2.0)
        self._replicas.close()

    def _zygote(self, profile: str) -> Zygote:
        with self._lock:
            if self._closed:
                raise Unavailable("Volant is stopping.", "Start it again with `volant up`.")
            name, _, key = profile.partition("@")
            if name not in self._profiles or (key and self._environments is None):
                known = ", ".join(sorted(self._profiles))
                raise InvalidInput(
                    f"There is no process profile {profile!r}.", f"Use one of: {known}."
                )
            zygote = self._zygotes.get(profile)
            if zygote is None or zygote.ended.is_set():
                idle_s = None if profile in self._resident else self._idle_s
                python = sys.executable
                if key and self._environments is not None:
                    python = str(python_of(self._environments, key))
                zygote = Zygote(profile, self._profiles[name], idle_s, self._start_s, python)
                self._zygotes[profile] = zygote
            return zygote

    def _forget(self, zygote: Zygote) -> None:
        """Never ask it again; it is dead, or as good as."""
        with self._lock:
            if self._zygotes.get(zygote.profile) is zygote:
                del self._zygotes[zygote.profile]
        zygote.kill()

    def _ask(self, zygote: Zygote, kind: str, fds: Sequence[int]) -> Fork | None:
        """None when the zygote died and nothing runs."""
        fork_id = next(self._ids)
        report, theirs = os.pipe()
        try:
            request = {"op": "fork", "id": fork_id, "kind": kind}
            handed = zygote.send(request, (fds[0], theirs, *fds[1:]))
        finally:
            os.close(theirs)
        try:
            ack = _read_line(report, _ACK_S) if handed else None
        except BaseException:
            os.close(report)
            raise
        if ack is not None and "pid" in ack:
            return Fork(fork_id, ack["pid"], report, zygote)
        os.close(report)
        if ack is None:
            return None
        raise Unavailable(
            f"A {kind} can't be started: {ack.get('error', 'it died at once')}.",
            "Free some memory or processes on this machine, then try again.",
            code="fork_failed",
        )


def _read_line(fd: int, timeout_s: float) -> Mapping[str, Any] | None:
    """One line of JSON from a pipe; None at its end, or when nobody writes in time."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            return None
        while not data.endswith(b"\n"):
            # Byte by byte: what follows the line is somebody else's. The line itself was
            # written at once, so the rest of it is there.
            byte = os.read(fd, 1)
            if not byte:
                break
            data += byte
    return json.loads(data) if data else None


@contextlib.contextmanager
def _as_file(request: Mapping[str, Any]) -> Generator[int]:
    """The request in memory, as a descriptor that can be passed on, of any size."""
    fd = os.memfd_create("volant-request", os.MFD_CLOEXEC)
    try:
        data = memoryview(json.dumps(request).encode())
        while data:
            data = data[os.write(fd, data) :]
        yield fd
    finally:
        os.close(fd)


def _open_log(path: str | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        # A replica that serves without a log is better than none.
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _family_pss(pid: int) -> int:
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(_family_pss(int(child)) for child in children)
