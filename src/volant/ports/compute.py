"""Where jobs run."""

from __future__ import annotations

from typing import Protocol

from volant.domain.job import Job, JobResult


class Compute(Protocol):
    def run(self, job: Job) -> JobResult:
        """Run `job` to its end and return how it ended; never raises for the job's
        own failure. Timeout: SIGTERM, 10 s of grace, SIGKILL."""
        ...

    def cancel(self, run_id: str) -> None:
        """End every job of this run that runs here; they end as `cancelled`."""
        ...

    def warm(self, profile: str) -> None:
        """A hint that a job of this profile comes soon. Returns at once."""
        ...

    def close(self) -> None:
        """End everything that was started here."""
        ...
