"""Preempted steps: what the settings say of them, and what is told and cleared at the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from volant.app.home import Home
from volant.app.step_place import forget_inputs
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.run import RunStatus, StepRequest
from volant.ports.records import RunRecords
from volant.training.checkpoints import Checkpoints

SURVIVED = "survived"  # the output that tells of a step's attempts


def resumed_decision(request: StepRequest, survived: Mapping[str, Any], now: datetime) -> Decision:
    """The line in `why` of a step that was done in several attempts."""
    return Decision(
        id=f"resumed-{request.run_id}-{request.step.name}",
        kind=DecisionKind.RUN,
        subject=f"loop/{request.loop}",
        outcome=Outcome.RESUMED,
        reason=sentence(request.step.name, survived),
        time=now,
        loop=request.loop,
        run_id=request.run_id,
        details=dict(survived),
    )


def sentence(step: str, survived: Mapping[str, Any]) -> str:
    """What happened to a step, and what its checkpoints spared."""
    attempts, lost = len(survived["attempts"]), int(survived["preemptions"])
    times = f"{lost} time{'' if lost == 1 else 's'}"
    what = f"Step {step} took {attempts} attempts and lost its machine {times}"
    spared = f"{survived['spared_s']:.1f} s of work weren't repeated"
    if not survived["spared_s"]:
        spared = "there was no checkpoint to go on from"
    if "spared_cost" in survived:
        price = survived["price_per_hour"]
        spared += f", worth {survived['spared_cost']:.4f} at {price:g} an hour"
    return f"{what}; {spared}."


def clear_folders(
    runs: RunRecords, checkpoints: Checkpoints, home: Home, run_id: str, status: RunStatus
) -> None:
    """Remove what mustn't outlive a run, and what one that ended well needs no more."""
    forget_inputs(home.runs / run_id)
    if status is RunStatus.SUCCEEDED:
        clear_checkpoints(runs, checkpoints, home, run_id)


def clear_checkpoints(runs: RunRecords, checkpoints: Checkpoints, home: Home, run_id: str) -> None:
    """Remove what a run that ended well kept, and the runs that it repeated. Done again it
    finds nothing."""
    run = runs.get(run_id)
    checkpoints.clear(run.id, home.runs)
    while run.retry_of is not None:
        run = runs.get(run.retry_of)
        checkpoints.clear(run.id, home.runs)
