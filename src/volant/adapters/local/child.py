"""What happens in a fork of the zygote: cut loose, set limits, then run the job's entry,
its shell command, or a replica."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import faulthandler
import gc
import importlib
import io
import json
import math
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from volant.domain.run import StepContext
from volant.durable import write_whole
from volant.errors import InvalidInput, ResourceExhausted, StepFailed, VolantError

EXIT_FAILED = 1
EXIT_BROKEN = 70  # the machinery around the job broke, before its own code ran
EXIT_OUT_OF_MEMORY = 78

_LONGEST_TEXT = 32 * 4096  # bytes of one argument or variable, its end included, on Linux
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_libc: ctypes.CDLL | None = None


def prepare() -> None:
    """In the zygote: set up what every fork needs, so that no fork has to."""
    # A line should leave at once. Here, not in the fork: these streams were made over
    # files, and would seek on the fork's pipes if they were changed there.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    global _libc  # noqa: PLW0603 - loading it costs a millisecond, which a fork would pay
    _libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int | bytes) -> None:
    if _libc is None:
        prepare()
    cast("ctypes.CDLL", _libc).prctl(option, argument, 0, 0, 0)


def main(kind: str, request_fd: int, report: int, fds: Sequence[int], parent: int) -> None:
    """Run the fork to its end; never returns. `fds` are a job's stdout, stderr and
    outcome, or a replica's log, listening socket and control socket."""
    try:
        request = _read_json(request_fd)
        os.setsid()
        if kind == "job":
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(EXIT_BROKEN)
        stdout, stderr = (fds[0], fds[1]) if kind == "job" else (fds[0], fds[0])
        _redirect(stdout, stderr)
        _limits(request)
        _default_signals()
        gc.enable()
        os.write(report, json.dumps({"pid": os.getpid()}).encode() + b"\n")
        os.close(report)
    except BaseException as error:
        with contextlib.suppress(OSError):
            told = json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]})
            os.write(report, told.encode() + b"\n")
        os._exit(EXIT_BROKEN)
    if kind == "job":
        os.close(stdout)
        os.close(stderr)
        _leave(lambda: _job(request, fds[2]))
    os.close(fds[0])
    _leave(lambda: _replica(request, fds[1], fds[2]))


def _read_json(fd: int) -> Mapping[str, Any]:
    with io.FileIO(fd, closefd=True) as file:
        file.seek(0)
        return json.loads(file.readall())


def _redirect(stdout: int, stderr: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
    os.close(null)
    faulthandler.enable(2)


def _limits(request: Mapping[str, Any]) -> None:
    # The kernel, short of memory, takes a job before it takes the platform.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(request["oom_score_adj"]))
    cores = request.get("cpu")
    if cores is not None and not _join(request.get("cpu_cgroup")):
        _bound_cores(float(cores))
    limit = request.get("memory_bytes")
    if limit is None or _join(request.get("cgroup")):
        return
    # Bounds what is written to privately, beyond what came with the fork. Address
    # space (RLIMIT_AS) would also count what allocators reserve and never touch.
    ceiling = _data_bytes() + int(limit)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def _join(group: str | None) -> bool:
    if group is None:
        return False
    try:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    return True


def _bound_cores(cores: float) -> None:
    """Where CPU time can't be bounded: no more cores than that, rounded up, which ones by
    the process's number; and a share of one gives way to others."""
    allowed = sorted(os.sched_getaffinity(0))
    count = max(1, math.ceil(cores))
    if count < len(allowed):
        first = os.getpid() % len(allowed)
        os.sched_setaffinity(0, [(allowed * 2)[first + i] for i in range(count)])
    if cores < 1:
        with contextlib.suppress(OSError):
            os.nice(5)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _leave(work: Callable[[], int]) -> None:
    """Run `work` and end the process with its exit code, running what Python code
    registered for the end, but not the interpreter's own shutdown: that would touch,
    and so copy, the zygote's whole heap."""
    code = EXIT_FAILED
    try:
        code = work()
        threading._shutdown()  # type: ignore[attr-defined]  # pyright: ignore
        atexit._run_exitfuncs()  # pyright: ignore
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


# jobs


def _job(request: Mapping[str, Any], outcome: int) -> int:
    _prctl(_PR_SET_NAME, f"volant:{request['step']}".encode()[:15])
    try:
        os.chdir(request.get("cwd") or request["workdir"])
        _apply_env(request["env"])
        if request["command"] is not None:
            _exec(request["command"])
        return _entry(request)
    except SystemExit as leaving:
        return _exit_code(leaving, request, outcome)
    except MemoryError:
        traceback.print_exc()
        return EXIT_OUT_OF_MEMORY
    except BaseException as error:
        sys.stderr.write(_traceback(error))
        _tell(outcome, error if isinstance(error, VolantError) else _as_error(error))
        return EXIT_FAILED


def _apply_env(env: Mapping[str, str]) -> None:
    os.environ.update(env)
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Its global generator was seeded in the zygote: every fork would draw the same.
        numpy_random.seed(None)


def _exec(command: str) -> None:
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv("/bin/sh", ["sh", "-c", command])  # noqa: S606 - it is the shell
    except OSError as error:
        raise InvalidInput(
            f"The command {command[:80]!r} can't be started: {_why_not(command, error)}.",
            "Pass what is long in files: a command has to fit into 128 KiB, and so has each"
            " variable of its environment; all of them together into 2 MiB.",
            details={"errno": error.errno},
        ) from error


def _why_not(command: str, error: OSError) -> str:
    """What the kernel said, and for what is too long which text that is."""
    if error.errno != errno.E2BIG:
        return error.strerror or str(error)
    texts = {"it": command}
    texts |= {f"its variable {name}": f"{name}={text}" for name, text in os.environ.items()}
    sizes = {name: len(os.fsencode(text)) + 1 for name, text in texts.items()}
    name, size = max(sizes.items(), key=lambda each: each[1])
    if size > _LONGEST_TEXT:
        return f"{name} has {size:,} bytes"
    return f"it and its environment have {sum(sizes.values()):,} bytes"


def _entry(request: Mapping[str, Any]) -> int:
    workdir = Path(request["workdir"])
    context = StepContext(
        run_id=request["run_id"],
        step=request["step"],
        attempt=request["attempt"],
        workdir=workdir,
        checkpoint_dir=Path(request["checkpoint_dir"]),
    )
    outputs = resolve(request["entry"])(request["inputs"], context)
    write_outputs(Path(request["outputs_path"]), outputs, request["entry"])
    return 0


def resolve(entry: str) -> Callable[..., Any]:
    """The function that `module:function` names.

    Raises `InvalidInput` when there is no such module or function.
    """
    module_name, _, name = entry.partition(":")
    fix = "Write it as `module:function`, with the module beside volant.yaml or installed."
    if not module_name or not name:
        raise InvalidInput(f"{entry!r} doesn't name a function.", fix)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (module_name == missing or module_name.startswith(missing + ".")):
            raise InvalidInput(f"{entry!r}: there is no module {missing!r}.", fix) from error
        raise
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InvalidInput(f"{entry!r}: the module {module_name} has no function {name!r}.", fix)
    return found


def write_outputs(path: Path, outputs: object, entry: str) -> None:
    """All or nothing: the file is there, whole, or it isn't.

    Raises `StepFailed` for what JSON can't hold, `ResourceExhausted` on a full disk.
    """
    if outputs is None:
        outputs = {}
    if not isinstance(outputs, dict):
        raise StepFailed(
            f"{entry} returned {type(outputs).__name__}, not a dict of outputs.",
            "Return a dict from output names to JSON values.",
        )
    try:
        text = json.dumps(outputs)
    except (TypeError, ValueError) as error:
        raise StepFailed(
            f"{entry} returned outputs that JSON can't hold: {error}.",
            "Return only dicts, lists, strings, numbers, booleans and None;"
            " call .item() or .tolist() on NumPy values.",
        ) from error
    try:
        # After a machine's crash the whole step runs again.
        write_whole(path, text, lasting=False)
    except OSError as error:
        raise ResourceExhausted(
            f"The outputs of {entry} can't be written to {path}: {error.strerror}.",
            "Free some space there and run the step again.",
        ) from error


def _exit_code(leaving: SystemExit, request: Mapping[str, Any], outcome: int) -> int:
    """As the interpreter does it: None is 0, a number is itself, a text is 1."""
    code = leaving.code
    if code is None or code == 0:
        write_outputs(Path(request["outputs_path"]), {}, request["entry"])
        return 0
    if not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - what Python itself would print
    number = code & 0xFF if isinstance(code, int) else EXIT_FAILED
    shown = code if isinstance(code, int) else repr(str(code))
    _tell(
        outcome,
        StepFailed(
            f"The step left with sys.exit({shown}).",
            "See its log for what it printed before.",
            details={"exit_code": number or EXIT_FAILED},
        ),
    )
    return number or EXIT_FAILED


def _as_error(error: BaseException) -> VolantError:
    what = f"{type(error).__name__}: {error}"
    return StepFailed(
        what[:2000],
        "See the traceback in the step's log, mend the code, and retry the run.",
        details={"traceback": _traceback(error)[-16000:], "exception": type(error).__name__},
    )


def _traceback(error: BaseException) -> str:
    """As Python prints it, but from the first frame that isn't ours."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(error.with_traceback(frames)))


def _tell(outcome: int, error: VolantError) -> None:
    try:
        text = json.dumps(error.to_dict())
    except (TypeError, ValueError):
        text = json.dumps({**error.to_dict(), "details": {"repr": repr(error.details)[:4000]}})
    os.pwrite(outcome, text.encode(), 0)


# replicas


def _replica(request: Mapping[str, Any], listen_fd: int, control_fd: int) -> int:
    _prctl(_PR_SET_NAME, b"volant:replica")
    os.chdir("/")
    _apply_env({})
    try:
        resolve(request["entry"])(request["spec"], listen_fd, control_fd)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except MemoryError:
        traceback.print_exc()
        return EXIT_OUT_OF_MEMORY
    except BaseException:
        traceback.print_exc()
        return EXIT_FAILED
    return 0
