"""WorkflowSpec → plan: checked, ordered, and able to resolve each step's inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.expressions import (
    Reference,
    Scope,
    evaluate,
    nearest,
    parse_condition,
    references_in,
    references_of,
    render,
)

# A name is a folder, a part of an identifier, and a word in expressions.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """A workflow that can run. `order` is topological, ties in the written order;
    `needs` holds both what a step says it needs and what its expressions refer to."""

    workflow: WorkflowSpec
    order: tuple[str, ...]
    needs: Mapping[str, frozenset[str]]
    steps: Mapping[str, StepSpec]

    def wanted(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the step's `when` holds, given the outputs of what it needs."""
        when = self.steps[step].when
        if when is None:
            return True
        scope = Scope(self.workflow.inputs, outputs)
        return bool(evaluate(parse_condition(when, f"steps.{step}.when"), scope))

    def items(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> Sequence[Any] | None:
        """The elements of the step's `foreach`; None without one."""
        return None

    def rendered(
        self, step: str, outputs: Mapping[str, Mapping[str, Any]], item: Any = None
    ) -> StepSpec:
        """The step with every expression resolved.

        Raises `InvalidInput` when an output that is referred to isn't there.
        """
        scope = Scope(self.workflow.inputs, outputs)
        spec = self.steps[step]
        given = spec.inputs
        inputs = {key: render(given[key], scope, f"steps.{step}.inputs.{key}") for key in given}
        return replace(spec, inputs=inputs)

    def downstream(self, step: str) -> frozenset[str]:
        """Every step that needs `step`, directly or not."""
        found: set[str] = set()
        for name in self.order:
            if self.needs[name] & ({step} | found):
                found.add(name)
        return frozenset(found)


def plan_workflow(workflow: WorkflowSpec) -> WorkflowPlan:
    """Check a workflow and order its steps.

    Raises `InvalidInput` that names the step and the offending value: no steps, a bad or
    repeated name, not exactly one of uses/call/run, a bad number, an expression that
    doesn't parse, a reference to an unknown step or input (with the nearest name), a
    circle (with its steps in order).
    """
    steps = _by_name(workflow)
    for step in workflow.steps:
        _check_step(step)
    needs = {name: _needs(step, workflow, steps) for name, step in steps.items()}
    return WorkflowPlan(workflow, _order(needs), needs, steps)


def _by_name(workflow: WorkflowSpec) -> dict[str, StepSpec]:
    steps: dict[str, StepSpec] = {}
    for step in workflow.steps:
        if not NAME.fullmatch(step.name):
            raise InvalidInput(
                f"{step.name!r} can't be a step's name.",
                "Use 1 to 63 letters, digits, '-' and '_', not starting with '-'.",
                code="invalid_name",
                details={"step": step.name},
            )
        if step.name in steps:
            raise InvalidInput(
                f"Workflow {workflow.name!r} has two steps named {step.name!r}.",
                "Rename one of them.",
                code="duplicate_step",
                details={"step": step.name},
            )
        steps[step.name] = step
    if not steps:
        raise InvalidInput(
            f"Workflow {workflow.name!r} has no steps.", "Give it one.", code="empty_workflow"
        )
    return steps


def _check_step(step: StepSpec) -> None:
    kinds = {"uses": step.uses, "call": step.call, "run": step.run}
    given = [kind for kind, value in kinds.items() if value]
    if len(given) != 1:
        having = " and ".join(given) if given else "none of them"
        raise InvalidInput(
            f"Step {step.name!r} must have exactly one of uses, call and run; it has {having}.",
            "Keep one: uses for a built-in step, call for a Python function, run for a command.",
            code="invalid_step",
            details={"step": step.name, "given": given},
        )
    numbers = {
        "retries": (step.retries, step.retries >= 0, "0 or more"),
        "backoff_s": (step.backoff_s, step.backoff_s >= 0, "0 or more seconds"),
        "timeout_s": (step.timeout_s, _positive(step.timeout_s), "more than 0 seconds"),
        "memory_bytes": (step.memory_bytes, _positive(step.memory_bytes), "more than 0 bytes"),
    }
    for key, (value, good, expected) in numbers.items():
        if not good:
            raise InvalidInput(
                f"Step {step.name!r} has {key} = {value}.",
                f"Give {expected}.",
                code="invalid_step",
                details={"step": step.name, "key": key},
            )


def _positive(number: float | None) -> bool:
    return number is None or number > 0


def _needs(step: StepSpec, workflow: WorkflowSpec, steps: Mapping[str, StepSpec]) -> frozenset[str]:
    found = set(step.needs)
    for name in step.needs:
        if name not in steps:
            raise InvalidInput(
                f"Step {step.name!r} needs {name!r}, which isn't a step.",
                nearest(name, list(steps)),
                code="unknown_step",
                details={"step": step.name, "needs": name},
            )
    for reference in _references(step):
        if reference.path[0] == "inputs":
            _check_known(step, reference, reference.path[1], workflow.inputs, "input")
        else:
            _check_known(step, reference, reference.path[1], steps, "step")
            found.add(reference.path[1])
    return frozenset(found)


def _references(step: StepSpec) -> Iterator[Reference]:
    for key, value in step.inputs.items():
        yield from references_in(value, f"steps.{step.name}.inputs.{key}")
    if step.when is not None:
        yield from references_of(parse_condition(step.when, f"steps.{step.name}.when"))


def _check_known(
    step: StepSpec, reference: Reference, name: str, known: Mapping[str, Any], noun: str
) -> None:
    if name not in known:
        raise InvalidInput(
            f"Step {step.name!r} refers to {reference}, but the workflow has no {noun} {name!r}.",
            nearest(name, list(known)),
            code="unknown_reference",
            details={"step": step.name, "reference": str(reference)},
        )


def _order(needs: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Kahn's algorithm, always taking the first ready step in the written order."""
    order: list[str] = []
    done: set[str] = set()
    while len(order) < len(needs):
        ready = next((n for n in needs if n not in done and needs[n] <= done), None)
        if ready is None:
            circle = _circle({n: needs[n] - done for n in needs if n not in done})
            raise InvalidInput(
                f"The steps need each other in a circle: {' → '.join(circle)}.",
                "Take one of these needs or references away.",
                code="circular_steps",
                details={"steps": circle},
            )
        order.append(ready)
        done.add(ready)
    return tuple(order)


def _circle(needs: Mapping[str, frozenset[str]]) -> list[str]:
    """One circle in a graph where every node needs another one of it."""
    path: list[str] = []
    name = next(iter(needs))
    while name not in path:
        path.append(name)
        name = min(needs[name])
    circle = path[path.index(name) :]
    return [*circle, name]
