"""What a run would do, without doing it: its graph, its steps, what it may cost.

Pure: durations of earlier runs and the price of an hour are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volant.domain.codec import to_plain
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.elements import elements, references_in_elements
from volant.workflows.evaluation import Scope, render
from volant.workflows.expressions import references_in
from volant.workflows.gates import gates
from volant.workflows.plan import WorkflowPlan, plan_workflow

_HOUR_S = 3600.0
_KNOWN = ("inputs", "extensions")  # roots of references that are known before a run


def dry_run(
    workflow: WorkflowSpec,
    durations: Mapping[str, float] | None = None,
    price_per_hour: float | None = None,
) -> dict[str, Any]:
    """The document of a dry run.

    Args:
        workflow: What would run, as `compile_workflow` gives it.
        durations: Seconds that a step took lately, by its name; of a step with `foreach`,
            of all elements together. Steps that never ran, or whose outputs were taken
            over, are left out.
        price_per_hour: Of one step at work, in whatever currency.

    Returns:
        `workflow`, `version`, `inputs`, `outputs`; `levels`, lists of names of which each
        step comes after some of the level before; `steps`, in an order in which they could
        run; `estimate`: `step_s` (all steps together), `wall_s` (the longest way through
        the graph), `cost`, and `unknown`, the steps that it leaves out. What is cached
        then costs nothing, so these are upper bounds.

    Raises:
        InvalidInput: As `plan_workflow`.
    """
    plan = plan_workflow(workflow)
    known = {name: float(s) for name, s in (durations or {}).items() if name in plan.steps}
    depth = levels(plan)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in plan.order:
        rows[depth[name]].append(name)
    return {
        "workflow": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
        "inputs": to_plain(workflow.inputs),
        "outputs": dict(workflow.outputs),
        "levels": rows,
        "steps": [_step(plan, name, depth[name], known.get(name)) for name in plan.order],
        "estimate": _estimate(plan, known, price_per_hour),
    }


def levels(plan: WorkflowPlan) -> dict[str, int]:
    """Each step's distance from the start: 0, or one more than the farthest it needs."""
    found: dict[str, int] = {}
    for name in plan.order:
        found[name] = max((found[need] + 1 for need in plan.needs[name]), default=0)
    return found


def _step(plan: WorkflowPlan, name: str, level: int, seconds: float | None) -> dict[str, Any]:
    step = plan.steps[name]
    scope = Scope(plan.workflow.inputs, {}, step.extensions)
    at = f"steps.{name}"
    return {
        "name": name,
        "level": level,
        "kind": kind_of(step),
        "uses": step.uses,
        "call": step.call,
        "run": _resolved(step.run, scope, f"{at}.run"),
        "image": _resolved(step.image, scope, f"{at}.image"),
        "inputs": _resolved(dict(step.inputs), scope, f"{at}.inputs"),
        "env": _resolved(dict(step.env), scope, f"{at}.env"),
        "outputs": list(step.outputs),
        "needs": [need for need in plan.order if need in plan.needs[name]],
        "when": step.when,
        "foreach": step.foreach,
        "elements": _elements(step, scope),
        "extensions": {
            key: {"extension": bound.extension, "service": bound.service, "url": bound.url}
            for key, bound in step.extensions.items()
        },
        "cache": step.cache,
        "retries": step.retries,
        "timeout_s": step.timeout_s,
        "memory_bytes": step.memory_bytes,
        "cpu": step.cpu,
        "seconds": seconds,
    }


def kind_of(step: StepSpec) -> str:
    """`uses`, `call`, `run` or `image`: what of these says what the step does."""
    if step.uses:
        return "uses"
    if step.call:
        return "call"
    return "run" if step.run else "image"


def _resolved(value: Any, scope: Scope, where: str) -> Any:
    """`value` with what is known before a run filled in; what isn't stays an expression."""
    if isinstance(value, dict):
        return {key: _resolved(item, scope, f"{where}.{key}") for key, item in value.items()}
    if all(reference.path[0] in _KNOWN for reference in references_in(value, where)):
        try:
            return to_plain(render(value, scope, where))
        except InvalidInput:  # the run will tell it
            return value
    return value


def _elements(step: StepSpec, scope: Scope) -> int | None:
    """How many elements the `foreach` goes over, if that is known by now."""
    where = f"steps.{step.name}.foreach"
    if step.foreach is None:
        return None
    if any(found.path[0] not in _KNOWN for found in references_in_elements(step.foreach, where)):
        return None
    return len(elements(step.foreach, scope, where))


def _estimate(
    plan: WorkflowPlan, known: Mapping[str, float], price: float | None
) -> dict[str, Any]:
    total = sum(known.values())
    ends: dict[str, float] = {}
    for name in plan.order:
        start = max((ends[need] for need in plan.needs[name]), default=0.0)
        ends[name] = start + known.get(name, 0.0)
    cost = None if price is None else round(total / _HOUR_S * price, 6)
    return {
        "step_s": round(total, 3),
        "wall_s": round(max(ends.values()), 3),
        "price_per_hour": price,
        "cost": cost,
        "unknown": [name for name in plan.order if name not in known],
    }


def drawing(workflow: WorkflowSpec) -> list[str]:
    """The graph as lines of text.

    A step stands below the one that all ways to it lead through. A step that waits for
    others than that one says so.

    Raises `InvalidInput` as `plan_workflow`.
    """
    plan = plan_workflow(workflow)
    parents = gates(plan.order, plan.needs)
    below: dict[str | None, list[str]] = {}
    for name in plan.order:
        below.setdefault(parents[name], []).append(name)
    drawn: list[tuple[str, str]] = []
    for root in below[None]:
        _draw(root, "", below, drawn)
    width = max(len(left) + len(name) for left, name in drawn)
    return [_line(left, name, width, plan, parents) for left, name in drawn]


def _draw(
    name: str,
    indent: str,
    below: Mapping[str | None, Sequence[str]],
    drawn: list[tuple[str, str]],
    branch: str = "",
) -> None:
    """`indent` stands before what is below, `branch` in its place before `name` itself."""
    drawn.append((branch or indent, name))
    children = below.get(name, ())
    while len(children) == 1:
        drawn.append((f"{indent}│", ""))
        name = children[0]
        drawn.append((indent, name))
        children = below.get(name, ())
    for index, child in enumerate(children):
        last = index == len(children) - 1
        deeper = f"{indent}{'   ' if last else '│  '}"
        _draw(child, deeper, below, drawn, f"{indent}{'└─ ' if last else '├─ '}")


def _line(
    left: str, name: str, width: int, plan: WorkflowPlan, parents: Mapping[str, str | None]
) -> str:
    if not name:
        return left
    told = [_what(plan.steps[name])]
    step = plan.steps[name]
    if step.foreach is not None:
        count = _elements(step, Scope(plan.workflow.inputs, {}, step.extensions))
        told.append("for each" if count is None else f"for each of {count:,}")
    if step.when is not None:
        told.append(f"when {step.when}")
    if step.cache:
        told.append("cached")
    needs = [need for need in plan.order if need in plan.needs[name]]
    if needs and needs != [parents[name]]:
        told.append(f"after {', '.join(needs)}")
    words = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " · ".join(told))
    return f"{left}{name}{' ' * (width - len(left) - len(name))}  {words}"


def _what(step: StepSpec) -> str:
    match kind_of(step):
        case "run":
            first = (step.run or "").strip().splitlines()[0]
            return f"run {first if len(first) <= 40 else first[:39] + '…'}"
        case "call":
            return f"call {step.call}"
        case "image":
            return f"image {step.image}"
        case _:
            return f"uses {step.uses}"
