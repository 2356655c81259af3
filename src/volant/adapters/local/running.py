"""The jobs that a compute has under way: how one is begun, and how they are ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from contextlib import contextmanager

from volant.adapters.local.attempt import Stop, Stopper
from volant.adapters.local.environment import checkpoint_dir, outputs_path
from volant.adapters.local.joblog import JobLog
from volant.domain.job import Job, JobResult
from volant.domain.masking import concealed
from volant.errors import ResourceExhausted, Unavailable, VolantError
from volant.ports.clock import Clock

_CLOSE_S = 15.0


class Running:
    """Thread-safe; a job is in it from its beginning to its end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[Stopper, str] = {}
        self._closed = False

    @contextmanager
    def job(self, run_id: str) -> Generator[Stopper]:
        """What ends the job of the block; after `close` it is to end at once."""
        stopper = Stopper()
        with self._changed:
            self._jobs[stopper] = run_id
            if self._closed:
                stopper.stop(Stop.CLOSING)
        try:
            yield stopper
        finally:
            with self._changed:
                del self._jobs[stopper]
                self._changed.notify_all()
            stopper.close()

    def stop(self, run_id: str, reason: Stop) -> None:
        """End this run's jobs; returns before they have ended."""
        with self._changed:
            for stopper, owner in self._jobs.items():
                if owner == run_id:
                    stopper.stop(reason)

    def close(self) -> None:
        """End all jobs (they end as lost, so that they run again) and wait for that."""
        with self._changed:
            self._closed = True
            for stopper in self._jobs:
                stopper.stop(Stop.CLOSING)
            self._changed.wait_for(lambda: not self._jobs, timeout=_CLOSE_S)


def prepare(job: Job, clock: Clock, log_bytes: int) -> JobLog:
    """Make the job's folders and open its log. Raises `ResourceExhausted`, `Unavailable`."""
    try:
        checkpoint_dir(job).mkdir(parents=True, exist_ok=True)
        # A control plane that died may have left this attempt's outputs of its last life.
        outputs_path(job).unlink(missing_ok=True)
        return JobLog(job.log_path, clock, log_bytes, job.mask)
    except OSError as error:
        raise _cannot_prepare(job, error) from error


def _cannot_prepare(job: Job, error: OSError) -> VolantError:
    what = f"The folder of step {job.step}, {job.workdir}, can't be written: {error.strerror}."
    if error.errno in (28, 122):  # no space left; quota exceeded
        return ResourceExhausted(what, "Free some space there and retry the run.")
    return Unavailable(what, "Mend the folder's permissions and retry the run.")


def heard(job: Job, result: JobResult) -> JobResult:
    """`result` without the secrets that the job was given; nor does the file of its outputs
    stay, in which it may have told them."""
    if job.mask:
        with contextlib.suppress(OSError):
            outputs_path(job).unlink(missing_ok=True)
    return concealed(result, job.mask)
