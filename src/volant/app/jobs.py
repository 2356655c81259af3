"""Jobs: a step's, and one action's that isn't a step of any run; and how a bad end is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.domain.job import Job, JobResult, JobStatus
from volant.domain.run import StepRequest
from volant.errors import StepFailed, VolantError, from_dict
from volant.ports.compute import Compute


def job_of(request: StepRequest, inputs: Mapping[str, Any], **more: Any) -> Job:
    """The job of an attempt at a step; `more` are the fields in which steps differ."""
    step = request.step
    return Job(
        id=f"{request.run_id}:{step.name}:{request.attempt}",
        step=step.name,
        run_id=request.run_id,
        attempt=request.attempt,
        workdir=request.workdir,
        log_path=request.workdir / "log.jsonl",
        inputs=inputs,
        timeout_s=step.timeout_s,
        **more,
    )


def error_of(result: JobResult, subject: str, fix: str) -> VolantError:
    """What a job that didn't succeed raised; else that `subject` ended, with `fix`."""
    what = f"{subject} ended as {result.status} (exit code {result.exit_code})."
    error = from_dict(result.error or {"kind": StepFailed.code, "what": what, "fix": fix})
    error.details.setdefault("status", result.status.value)
    error.details["lost"] = result.status is JobStatus.LOST
    return error


def run_action(
    compute: Compute,
    action: str,
    inputs: Mapping[str, Any],
    *,
    profile: str,
    workdir: Path,
    timeout_s: float,
) -> Mapping[str, Any]:
    """The outputs of `volant.actions:<action>`; raises its error. The caller removes
    `workdir`, whose name is the job's."""
    result = compute.run(
        Job(
            id=workdir.name,
            step=action,
            run_id=workdir.name,
            attempt=1,
            workdir=workdir,
            log_path=workdir / "log.jsonl",
            inputs=inputs,
            entry=f"volant.actions:{action}",
            profile=profile,
            timeout_s=timeout_s,
        )
    )
    if result.status is JobStatus.SUCCEEDED:
        return result.outputs
    raise from_dict(
        result.error
        or {
            "kind": StepFailed.code,
            "what": f"{action} ended as {result.status.value}.",
            "fix": "Try again; the server's log may tell more.",
        }
    )
