"""One action in one step process, waited for: what isn't a step of any run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.domain.job import Job, JobStatus
from volant.errors import StepFailed, from_dict
from volant.ports.compute import Compute


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
