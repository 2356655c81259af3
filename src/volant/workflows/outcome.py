"""What a run gave: its workflow's outputs, from those of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volant.domain.run import Run, RunState
from volant.errors import InvalidInput
from volant.workflows.evaluation import Scope, render


def outputs_of(run: Run, state: RunState) -> Mapping[str, Any]:
    """The outputs of the workflow that are known by now. One whose step was skipped, has
    failed or hasn't ended is left out."""
    wanted = run.workflow.outputs
    if not wanted:
        return {}
    scope = Scope(run.workflow.inputs, {step.name: step.outputs for step in state.steps})
    found: dict[str, Any] = {}
    for name, expression in wanted.items():
        try:
            found[name] = render(expression, scope, f"outputs.{name}")
        except InvalidInput:
            continue
    return found
