"""`Compute` in containers: every job is a container of podman's or docker's."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

from volant.adapters.container.arguments import (
    DEFAULT_COMMAND,
    HOME_LABEL,
    container_name,
    creation,
    results_dir,
)
from volant.adapters.container.client import PID_FILE, Client, Contained
from volant.adapters.container.engine import Engine, engine_words, find_engine, no_image
from volant.adapters.local.attempt import Attempt, Ending, Stop, Stopper
from volant.adapters.local.joblog import LOG_BYTES, JobLog
from volant.adapters.local.limits import machine_oom_kills
from volant.adapters.local.outcome import Evidence, judge, lost
from volant.adapters.local.running import Running, heard, prepare
from volant.adapters.system import SystemClock
from volant.domain.job import Job, JobResult, JobStatus
from volant.errors import StepFailed, Unavailable, VolantError
from volant.ports.clock import Clock

log = logging.getLogger(__name__)


class ContainerCompute:
    """`Compute` over a container engine's command line.

    Args:
        home: The control plane's folder. Its containers carry a label made of it, and while
            one may be there a folder of its name lies in `home/run/containers`; so those that
            a control plane left when it died are found and removed, and nobody else's are.
        engine: podman, docker, or a path; the first that is on PATH when None.
        clock: Stamps log lines.
        grace_s: Between SIGTERM and SIGKILL when a job is cancelled or over time.
        log_bytes: What one attempt may add to its log.

    Making one touches nothing: an engine is looked for when the first job comes. A job's
    timeout counts from its container's start, not while its image is pulled.
    """

    def __init__(
        self,
        home: Path,
        *,
        engine: str | None = None,
        clock: Clock | None = None,
        grace_s: float = 10.0,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._wanted = engine
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._log_bytes = log_bytes
        self._label = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        self._marks = home / "run" / "containers"
        self._running = Running()
        self._ready = threading.Lock()
        self._engine: Engine | None = None

    def run(self, job: Job) -> JobResult:
        """Run `job` to its end; see `Compute`."""
        started = time.monotonic()
        with self._running.job(job.run_id) as stopper:
            try:
                result = self._run(job, stopper)
            except VolantError as error:
                result = JobResult(JobStatus.FAILED, error=error.to_dict())
        result = replace(result, wall_s=time.monotonic() - started)
        return heard(job, result)

    def cancel(self, run_id: str) -> None:
        """End this run's containers; returns before they have ended."""
        self._running.stop(run_id, Stop.CANCELLED)

    def warm(self, profile: str) -> None:
        """Nothing: an image is pulled when its step comes."""

    def close(self) -> None:
        """End all containers (their jobs end as lost, so that they run again)."""
        self._running.close()

    def recover(self) -> None:
        """Remove what an earlier life left. Quick, and calls no engine, when that is
        nothing. Done before the first job anyway."""
        if self._marks.is_dir() and any(self._marks.iterdir()):
            try:
                self._open()
            except VolantError as error:
                log.warning("containers of an earlier life may be left: %s", error)

    def _open(self) -> Engine:
        with self._ready:
            if self._engine is None:
                engine = find_engine(self._wanted)
                engine.abilities()
                self._sweep(engine)
                self._engine = engine
            return self._engine

    def _sweep(self, engine: Engine) -> None:
        self._marks.mkdir(parents=True, exist_ok=True)
        left = list(self._marks.iterdir())
        if not left:
            return
        mine = f"label={HOME_LABEL}={self._label}"
        told = engine.call("ps", "--all", "--quiet", "--no-trunc", "--filter", mine)
        if told.returncode == 0 and engine.remove(*told.stdout.split()):
            for folder in left:
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self, job: Job, stopper: Stopper) -> JobResult:
        with contextlib.ExitStack() as stack:
            written = prepare(job, self._clock, self._log_bytes)
            stack.callback(written.close)
            try:
                results_dir(job).mkdir(parents=True, exist_ok=True)
                return self._attempt(job, stopper, written, stack)
            except OSError as error:
                raise Unavailable(
                    f"The container of step {job.step} can't be prepared: {error}.",
                    "Mend that and retry the run.",
                ) from error
            except VolantError as error:
                written.note(str(error))
                raise

    def _attempt(
        self, job: Job, stopper: Stopper, written: JobLog, stack: contextlib.ExitStack
    ) -> JobResult:
        engine = self._open()
        able = engine.abilities()
        name = container_name(job)
        folder = self._marks / name
        made = creation(job, able, self._label, pid_file=folder / PID_FILE)
        for note in made.notes:
            written.note(note)
        if stopper.reason is not None:
            return judge(job, Evidence(Ending(None, stopper.reason)))
        folder.mkdir(parents=True, exist_ok=True)
        stack.callback(self._remove, engine, name, folder)
        create = stack.enter_context(
            contextlib.closing(Client(engine, made.words, made.environ, quiet=True))
        )
        ending = self._follow(create, written, stopper, None)
        if ending.stopped is not None:
            return judge(job, Evidence(ending))
        if ending.exit_code != 0:
            raise self._not_made(engine, job, written)
        kills_before = machine_oom_kills()
        contained = stack.enter_context(
            contextlib.closing(Contained(engine, name, folder, asks=not able.podman))
        )
        ending = self._follow(contained, written, stopper, job.timeout_s)
        facts = contained.facts
        if ending.stopped is None and facts.exit_code is None:
            return _unknown_end(job, facts.started, written)
        evidence = Evidence(
            ending,
            group_kills=int(facts.out_of_memory),
            machine_kills=machine_oom_kills() - kills_before,
            tail=tuple(written.tail),
        )
        result = judge(job, evidence)
        if result.error is not None:
            written.note(f"{result.error['what']} {result.error['fix']}")
        return result

    def _follow(
        self, client: Client, written: JobLog, stopper: Stopper, timeout_s: float | None
    ) -> Ending:
        client.start()
        return Attempt(
            client,
            client.stdout,
            client.stderr,
            written,
            stopper,
            timeout_s=timeout_s,
            grace_s=self._grace_s,
        ).follow()

    def _not_made(self, engine: Engine, job: Job, written: JobLog) -> VolantError:
        words = engine_words(list(written.tail))
        if not engine.has_image(str(job.image)):
            return no_image(engine, str(job.image), words)
        return StepFailed(
            f"The container of step {job.step} can't be made: {words}",
            f"See its log: volant logs {job.run_id} --step {job.step}",
            code="container.not_made",
        )

    def _remove(self, engine: Engine, name: str, folder: Path) -> None:
        try:
            gone = engine.remove(name) or engine.state(name) is None
        except VolantError:
            gone = False
        if gone:
            shutil.rmtree(folder, ignore_errors=True)
        else:  # its folder stays: the next start removes it
            log.warning("container %s couldn't be removed", name)


def _unknown_end(job: Job, started: bool, written: JobLog) -> JobResult:
    if started:
        error: VolantError = lost(job, "the container engine lost sight of its container")
        status = JobStatus.LOST
    else:
        fix = "Its command is run by the image's /bin/sh, which has to be there."
        if job.command is None:
            fix = (
                f"Without `run:` the image's own command `{DEFAULT_COMMAND}` is called, which has"
                " to be on its PATH; or give the step `run:`."
            )
        error = StepFailed(
            f"The container of step {job.step} couldn't start: {engine_words(list(written.tail))}",
            fix,
            code="container.not_started",
            details={"image": job.image},
        )
        status = JobStatus.FAILED
    written.note(f"{error.what} {error.fix}")
    return JobResult(status, error=error.to_dict())
