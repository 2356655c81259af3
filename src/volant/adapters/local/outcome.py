"""What a job's end means: its status, its outputs, and an error that says what to do."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.adapters.local.attempt import Ending, Stop
from volant.adapters.local.child import EXIT_BROKEN, EXIT_OUT_OF_MEMORY
from volant.adapters.local.environment import outputs_path
from volant.domain.job import Job, JobResult, JobStatus
from volant.errors import (
    InvalidInput,
    NotFound,
    ResourceExhausted,
    StepFailed,
    Unavailable,
    VolantError,
)

_OUTPUTS_BYTES = 16 * 1024 * 1024
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP})
_SHELL_TERMINATED = 128 + signal.SIGTERM  # as a shell tells it of what it ran


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of a process's end besides the end itself.

    `told`: the error that the process itself reported. `group_kills`: processes killed for
    exceeding the job's own limit. `machine_kills`: processes killed meanwhile because the
    machine had no memory left. `tail`: its last lines.
    """

    ending: Ending
    told: Mapping[str, Any] | None = None
    group_kills: int = 0
    machine_kills: int = 0
    tail: Sequence[str] = ()


def judge(job: Job, seen: Evidence) -> JobResult:
    """The result, wall time aside."""
    status, error, outputs = _verdict(job, seen)
    return JobResult(
        status=status,
        outputs=outputs or {},
        exit_code=seen.ending.exit_code,
        error=None if error is None else _as_dict(error),
        cpu_s=seen.ending.cpu_s,
        peak_bytes=seen.ending.peak_bytes,
    )


_Verdict = tuple[JobStatus, VolantError | Mapping[str, Any] | None, Mapping[str, Any] | None]


def _verdict(job: Job, seen: Evidence) -> _Verdict:
    code = seen.ending.exit_code
    if seen.ending.stopped is not None:
        return _stopped(job, seen.ending.stopped)
    if code is None or (code == EXIT_BROKEN and job.entry is not None and seen.told is None):
        return JobStatus.LOST, lost(job, "the process that it was forked from died"), None
    if code != 0:
        return _unwell(job, seen, code)
    try:
        return JobStatus.SUCCEEDED, None, _outputs(job)
    except VolantError as error:
        return JobStatus.FAILED, error, None


def _unwell(job: Job, seen: Evidence, code: int) -> _Verdict:
    if _out_of_memory(job, seen, code):
        return JobStatus.OUT_OF_MEMORY, _memory_error(job, seen), None
    if code == _SHELL_TERMINATED and seen.told is None:
        code = -signal.SIGTERM
    if code in _FROM_OUTSIDE:
        name = signal.Signals(-code).name
        return JobStatus.LOST, lost(job, f"something outside Volant sent it {name}"), None
    return JobStatus.FAILED, seen.told or _failure(job, seen, code), None


def _as_dict(error: VolantError | Mapping[str, Any]) -> Mapping[str, Any]:
    return error.to_dict() if isinstance(error, VolantError) else error


def _stopped(job: Job, stop: Stop) -> _Verdict:
    if stop is Stop.CLOSING:
        return JobStatus.LOST, lost(job, "Volant was stopped"), None
    if stop is Stop.PREEMPTED:
        return JobStatus.LOST, lost(job, "its machine was taken away"), None
    if stop is Stop.CANCELLED:
        error = StepFailed(
            f"{job.title} was cancelled.",
            f"Go on with it: volant runs resume {job.run_id}",
            code="cancelled",
        )
        return JobStatus.CANCELLED, error, None
    error = StepFailed(
        f"{job.title} ran longer than its timeout of {job.timeout_s:g} s.",
        "Raise the step's timeout (`train.timeout` for training), or give it less to do;"
        " its log shows how far it came.",
        code="timeout",
        details={"timeout_s": job.timeout_s},
    )
    return JobStatus.TIMEOUT, error, None


def lost(job: Job, why: str) -> VolantError:
    """For now: a run begins it again by itself. What to do when it has been lost too often
    for that is said by who counts."""
    return Unavailable(
        f"{job.title} was lost: {why}.",
        "Nothing is wrong with it. A run starts it again by itself; what was begun alone has to"
        " be begun again.",
        code="job_lost",
    )


def _out_of_memory(job: Job, seen: Evidence, code: int) -> bool:
    if seen.group_kills:
        return True
    if job.entry is not None and code == EXIT_OUT_OF_MEMORY and seen.told is None:
        return True
    if code == -signal.SIGKILL and seen.machine_kills:
        return True
    # Bounded by RLIMIT_DATA, native code that can't allocate usually aborts.
    limit = job.memory_bytes
    return code == -signal.SIGABRT and limit is not None and seen.ending.peak_bytes > limit * 0.8


def _memory_error(job: Job, seen: Evidence) -> VolantError:
    details = {"memory_bytes": job.memory_bytes, "peak_bytes": seen.ending.peak_bytes}
    if job.memory_bytes is None:
        return ResourceExhausted(
            f"{job.title} ended because this machine has no memory left; it had"
            f" {_mib(seen.ending.peak_bytes)} itself.",
            "Give it less data, run fewer steps side by side, or use a larger machine.",
            code="out_of_memory",
            details=details,
        )
    return ResourceExhausted(
        f"{job.title} needed more memory than it is allowed: {_mib(job.memory_bytes)}.",
        "Raise the limit (`train.memory` in volant.yaml for a loop's training,"
        " `resources.limits.memory` in a workflow's step), or give it less data.",
        code="out_of_memory",
        details=details,
    )


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _failure(job: Job, seen: Evidence, code: int) -> VolantError:
    how = f"exit code {code}"
    if code < 0:
        how = f"signal {-code}"
        if -code in set(signal.Signals):
            how = f"signal {signal.Signals(-code).name}"
    what = f"The command of step {job.step}" if job.entry is None else job.title
    return StepFailed(
        f"{what} ended with {how}.",
        f"See its log: volant logs {job.run_id} --step {job.step}",
        details={"exit_code": code, "tail": list(seen.tail)},
    )


# outputs


def _outputs(job: Job) -> Mapping[str, Any]:
    path = outputs_path(job)
    try:
        if path.stat().st_size > _OUTPUTS_BYTES:
            raise InvalidInput(
                f"The outputs of step {job.step} in {path} have {path.stat().st_size} bytes;"
                f" {_OUTPUTS_BYTES} are allowed.",
                "Write large results to files and pass their paths.",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        if job.entry is None:
            return {}
        raise StepFailed(
            f"{job.title} ended without returning outputs.",
            "Let the function return; don't call os._exit in it.",
        ) from None
    except OSError as error:
        raise NotFound(
            f"The outputs of step {job.step} in {path} can't be read: {error.strerror}.",
            "Write them as a readable file.",
        ) from error
    return parse_outputs(data, path)


def parse_outputs(data: bytes, path: Path) -> Mapping[str, Any]:
    """A JSON object, or `KEY=VALUE` lines (values are text; blank lines and lines that
    start with # are skipped). Raises `InvalidInput` naming the file and the line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _bad(path, line, "it isn't UTF-8") from error
    if text.lstrip()[:1] not in ("{", "["):
        return _pairs(text, path)
    try:
        outputs = json.loads(text)
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise _bad(path, line, f"it isn't JSON ({error})") from error
    if not isinstance(outputs, dict):
        raise _bad(path, 1, "it is a JSON list, not an object")
    return outputs


def _pairs(text: str, path: Path) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            raise _bad(path, number, f"{line[:80]!r} isn't KEY=VALUE")
        pairs[key] = value
    return pairs


def _bad(path: Path, line: int, why: str) -> InvalidInput:
    return InvalidInput(
        f"The outputs file {path} can't be read, line {line}: {why}.",
        "Write one JSON object, or lines of KEY=VALUE, to the file that $VOLANT_OUTPUTS names.",
        code="bad_outputs",
        details={"file": str(path), "line": line},
    )
