"""Workflow: an explicit graph of steps. It knows step names, no machine learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One node. Exactly one of `uses`, `call`, `run` is set.

    `inputs` values are JSON; a string may hold `{{ inputs.x }}` or
    `{{ steps.s.outputs.o }}`, and one that is nothing but such an expression
    keeps the referenced value's type. `when` is an expression; a falsy value
    skips the step. `retries` counts attempts after the first.
    """

    name: str
    uses: str | None = None
    call: str | None = None
    run: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: tuple[str, ...] = ()
    when: str | None = None
    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    memory_bytes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    name: str
    steps: tuple[StepSpec, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    description: str = ""
