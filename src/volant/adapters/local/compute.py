"""`Compute` on this machine: every job is a fork of a zygote."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from volant.adapters.local.attempt import Attempt, Ending, Stop, Stopper
from volant.adapters.local.environment import checkpoint_dir, job_environment, outputs_path
from volant.adapters.local.joblog import LOG_BYTES, JobLog
from volant.adapters.local.limits import Group, MemoryGroups, machine_oom_kills
from volant.adapters.local.outcome import Evidence, judge
from volant.adapters.local.running import Running, heard, prepare
from volant.adapters.local.spot import Spot
from volant.adapters.local.zygote import COMMAND_PROFILE, ZygoteLauncher
from volant.adapters.system import SystemClock
from volant.domain.job import Job, JobResult, JobStatus
from volant.errors import InvalidInput, VolantError
from volant.ports.clock import Clock

JOB_OOM_SCORE = 600
_MACHINERY = frozenset({"zygote_died", "fork_failed"})


class LocalCompute:
    """`Compute` on forks of the launcher's zygotes.

    Args:
        launcher: Shared with serving; it is closed by whoever made it.
        clock: Stamps log lines.
        grace_s: Between SIGTERM and SIGKILL when a job is cancelled or over time.
        preempt_grace_s: The same when its machine is taken away.
        spot: Takes it away now and then, to try out what happens then.
        log_bytes: What one attempt may add to its log.
        use_cgroups: False bounds memory with RLIMIT_DATA even where control groups work.

    Thread-safe: `run` may be called from many threads at once. It starts none, but for
    the simulator.
    """

    def __init__(
        self,
        launcher: ZygoteLauncher,
        *,
        clock: Clock | None = None,
        grace_s: float = 10.0,
        log_bytes: int = LOG_BYTES,
        use_cgroups: bool = True,
        preempt_grace_s: float = 120.0,
        spot: Spot | None = None,
    ) -> None:
        self._launcher = launcher
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._log_bytes = log_bytes
        self._preempt_grace_s = preempt_grace_s
        self._spot = spot
        self._groups = MemoryGroups() if use_cgroups else None
        self._running = Running()

    def run(self, job: Job) -> JobResult:
        """Run `job` to its end; see `Compute`."""
        started = time.monotonic()
        with self._running.job(job.run_id) as stopper:
            try:
                with self._striking(job, stopper):
                    result = self._run(job, stopper)
            except VolantError as error:
                lost = error.error_code in _MACHINERY
                status = JobStatus.LOST if lost else JobStatus.FAILED
                result = JobResult(status, error=error.to_dict())
        result = replace(result, wall_s=time.monotonic() - started)
        return heard(job, result)

    def cancel(self, run_id: str) -> None:
        """End this run's jobs; returns before they have ended."""
        self._running.stop(run_id, Stop.CANCELLED)

    def preempt(self, run_id: str) -> None:
        """Take away the machine under this run's jobs, as a provider does: SIGTERM, and
        SIGKILL after the grace. They end as lost, so that they run again."""
        self._running.stop(run_id, Stop.PREEMPTED)

    def _striking(self, job: Job, stopper: Stopper) -> contextlib.AbstractContextManager[None]:
        if self._spot is None or not job.preemptible:
            return contextlib.nullcontext()
        return self._spot.over(job, lambda: stopper.stop(Stop.PREEMPTED))

    def warm(self, profile: str) -> None:
        """Start the profile's zygote in the background."""
        self._launcher.warm(profile)

    def close(self) -> None:
        """End all jobs (they end as lost, so that they run again) and wait for that."""
        self._running.close()

    def _run(self, job: Job, stopper: Stopper) -> JobResult:
        with contextlib.ExitStack() as stack:
            log = prepare(job, self._clock, self._log_bytes)
            stack.callback(log.close)
            try:
                return self._attempt(job, stopper, log, stack)
            except VolantError as error:
                log.note(str(error))
                raise

    def _attempt(
        self, job: Job, stopper: Stopper, log: JobLog, stack: contextlib.ExitStack
    ) -> JobResult:
        kills_before = machine_oom_kills()
        group = self._group(job, stack)
        request = _request(job, group)
        if stopper.reason is not None:
            return judge(job, Evidence(Ending(None, stopper.reason)))
        outcome = os.memfd_create("volant-outcome", os.MFD_CLOEXEC)
        stack.callback(os.close, outcome)
        stdout, their_stdout = os.pipe()
        stack.callback(os.close, stdout)
        stderr, their_stderr = os.pipe()
        stack.callback(os.close, stderr)
        profile = COMMAND_PROFILE if job.entry is None else job.profile
        try:
            fork = self._launcher.fork(
                profile, "job", request, (their_stdout, their_stderr, outcome)
            )
        finally:
            os.close(their_stdout)
            os.close(their_stderr)
        stack.callback(os.close, fork.report)
        ending = Attempt(
            fork,
            stdout,
            stderr,
            log,
            stopper,
            timeout_s=job.timeout_s,
            grace_s=self._grace_s,
            preempt_grace_s=self._preempt_grace_s,
        ).follow()
        evidence = Evidence(
            ending=ending,
            told=_told(outcome),
            group_kills=0 if group is None else group.oom_kills(),
            machine_kills=machine_oom_kills() - kills_before,
            tail=tuple(log.tail),
        )
        result = judge(job, evidence)
        if result.error is not None and evidence.told is None:
            log.note(f"{result.error['what']} {result.error['fix']}")
        return result

    def _group(self, job: Job, stack: contextlib.ExitStack) -> Group | None:
        if job.memory_bytes is None or self._groups is None:
            return None
        group = self._groups.make(job.memory_bytes)
        if group is not None:
            stack.callback(group.remove)
        return group


def _request(job: Job, group: Group | None) -> Mapping[str, Any]:
    if (job.entry is None) == (job.command is None):
        raise InvalidInput(
            f"Step {job.step} has {'neither' if job.entry is None else 'both'} an entry and a"
            " command.".replace("neither an entry and", "neither an entry nor"),
            "Give it exactly one of them.",
        )
    try:
        json.dumps(dict(job.inputs))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The inputs of step {job.step} can't be handed over: {error}.",
            "Pass only dicts, lists, strings, numbers, booleans and None.",
        ) from error
    return {
        "entry": job.entry,
        "command": job.command,
        "inputs": dict(job.inputs),
        "env": job_environment(job),
        "run_id": job.run_id,
        "step": job.step,
        "attempt": job.attempt,
        "workdir": str(job.workdir),
        "cwd": None if job.cwd is None else str(job.cwd),
        "cpu": job.cpu,
        "checkpoint_dir": str(checkpoint_dir(job)),
        "outputs_path": str(outputs_path(job)),
        "memory_bytes": job.memory_bytes,
        "cgroup": None if group is None else str(group.path),
        "oom_score_adj": JOB_OOM_SCORE,
    }


def _told(outcome: int) -> Mapping[str, Any] | None:
    """The error that the process left for us, if it did."""
    data = os.pread(outcome, os.fstat(outcome).st_size, 0)
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None  # it died while writing it
