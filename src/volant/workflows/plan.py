"""WorkflowSpec → plan: checked, ordered, and able to resolve each step's inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.elements import elements, references_in_elements
from volant.workflows.evaluation import (
    Scope,
    evaluate,
    holds,
    render,
    render_text,
)
from volant.workflows.expressions import (
    Reference,
    nearest,
    parse_condition,
    references_in,
    references_of,
)

# A name is a folder, a part of an identifier, and a word in expressions.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """A workflow that can run. `order` is topological, ties in the written order;
    `needs` holds what a step says it needs or comes after, and what it refers to."""

    workflow: WorkflowSpec
    order: tuple[str, ...]
    needs: Mapping[str, frozenset[str]]
    steps: Mapping[str, StepSpec]

    def wanted(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the step's `when` holds, given the outputs of what it needs."""
        when = self.steps[step].when
        if when is None:
            return True
        expression = parse_condition(when, f"steps.{step}.when")
        return holds(evaluate(expression, self._scope(step, outputs)))

    def items(self, step: str, outputs: Mapping[str, Mapping[str, Any]]) -> Sequence[Any] | None:
        """The elements of the step's `foreach`; None without one.

        Raises `InvalidInput` when its value is no list, or one that is too long.
        """
        foreach = self.steps[step].foreach
        if foreach is None:
            return None
        return elements(foreach, self._scope(step, outputs), f"steps.{step}.foreach")

    def rendered(
        self, step: str, outputs: Mapping[str, Mapping[str, Any]], item: Any = None
    ) -> StepSpec:
        """The step with the expressions in its inputs, image, environment and command
        resolved. `call`, and what its extensions are bound to, hold none.

        Raises `InvalidInput` when an output that is referred to isn't there.
        """
        scope = self._scope(step, outputs, item)
        spec = self.steps[step]
        at = f"steps.{step}"
        return replace(
            spec,
            inputs={k: render(v, scope, f"{at}.inputs.{k}") for k, v in spec.inputs.items()},
            env={k: render_text(v, scope, f"{at}.env.{k}") for k, v in spec.env.items()},
            image=spec.image and render_text(spec.image, scope, f"{at}.image"),
            run=spec.run and render_text(spec.run, scope, f"{at}.run"),
        )

    def _scope(
        self, step: str, outputs: Mapping[str, Mapping[str, Any]], item: Any = None
    ) -> Scope:
        known = {**self.workflow.given, **outputs}
        return Scope(self.workflow.inputs, known, self.steps[step].extensions, item)

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
    repeated name, not one of uses, call, run and image, a bad number, an expression that
    doesn't parse, a reference to an unknown step, input or extension (with the nearest
    name) or to an `item` without `foreach`, a circle (with its steps in order).
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
    # An image runs what it holds, or a call or a command; a built-in step has none.
    alone = step.image is not None and not given
    if not alone and (len(given) != 1 or (step.image is not None and given == ["uses"])):
        if step.image is not None:
            given.append("image")
        raise InvalidInput(
            f"Step {step.name!r} must have exactly one of uses, call and run, or an image"
            f" (alone, or with call or run); it has {' and '.join(given) or 'none of them'}.",
            "Keep one: uses for a built-in step, call for a Python function, run for a command,"
            " image for a container.",
            code="invalid_step",
            details={"step": step.name, "given": given},
        )
    numbers = {
        "retries": (step.retries, step.retries >= 0, "0 or more"),
        "backoff_s": (step.backoff_s, step.backoff_s >= 0, "0 or more seconds"),
        "timeout_s": (step.timeout_s, _positive(step.timeout_s), "more than 0 seconds"),
        "memory_bytes": (step.memory_bytes, _positive(step.memory_bytes), "more than 0 bytes"),
        "cpu": (step.cpu, _positive(step.cpu), "more than 0 cores"),
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
    found = {*step.needs, *step.after}
    for name in (*step.needs, *step.after):
        if name not in steps:
            raise InvalidInput(
                f"Step {step.name!r} needs {name!r}, which isn't a step.",
                nearest(name, list(steps)),
                code="unknown_step",
                details={"step": step.name, "needs": name},
            )
    for reference in references_of_step(step):
        match reference.path[0]:
            case "inputs":
                _check_known(step, reference, workflow.inputs, "the workflow has no input")
            case "steps":
                known = {**steps, **workflow.given}
                _check_known(step, reference, known, "the workflow has no step")
                found.update({reference.path[1]} & steps.keys())
            case "extensions":
                _check_known(step, reference, step.extensions, "the step has no extension")
            case _:
                _check_item(step)
    return frozenset(found)


def references_of_step(step: StepSpec) -> Iterator[Reference]:
    """Every reference in a step, whichever field it stands in."""
    at = f"steps.{step.name}"
    yield from references_in(step.inputs, f"{at}.inputs")
    yield from references_in(step.env, f"{at}.env")
    yield from references_in(step.image, f"{at}.image")
    yield from references_in(step.run, f"{at}.run")
    for key in ("when", "foreach"):
        for reference in _of_the_whole(step, key):
            if reference.path[0] == "item":
                raise InvalidInput(
                    f"Step {step.name!r} refers to {reference} in its {key}.",
                    "item stands in what is done for each element: inputs, env, image, run.",
                    code="unknown_reference",
                    details={"step": step.name, "reference": str(reference)},
                )
            yield reference


def _of_the_whole(step: StepSpec, key: str) -> Iterator[Reference]:
    """The references of what is evaluated once for a step, not once for each element."""
    where = f"steps.{step.name}.{key}"
    if key == "when" and step.when is not None:
        yield from references_of(parse_condition(step.when, where))
    if key == "foreach" and step.foreach is not None:
        yield from references_in_elements(step.foreach, where)


def _check_item(step: StepSpec) -> None:
    if step.foreach is None:
        raise InvalidInput(
            f"Step {step.name!r} refers to item, but it has no foreach.",
            "Give it a foreach, or refer to an input or another step's output.",
            code="unknown_reference",
            details={"step": step.name, "reference": "item"},
        )


def _check_known(
    step: StepSpec, reference: Reference, known: Mapping[str, Any], without: str
) -> None:
    name = reference.path[1]
    if name not in known:
        raise InvalidInput(
            f"Step {step.name!r} refers to {reference}, but {without} {name!r}.",
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
