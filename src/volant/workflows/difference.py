"""What differs between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from volant.domain.run import Run, RunState, StepState
from volant.domain.workflow import StepSpec
from volant.errors import InvalidInput
from volant.workflows.outcome import outputs_of
from volant.workflows.plan import plan_workflow

Pair = tuple[Any, Any]
Found = tuple[Run, RunState]

_MISSING: Any = None
_STEP_FIELDS = ("status", "cached", "error")
_COUNTS = ("total", "failed")  # of a step's elements


def difference(a: Found, b: Found) -> dict[str, Any]:
    """What two runs had and gave that isn't the same, each as a pair (in `a`, in `b`).

    Returns:
        `a`, `b` (their ids), `workflow` (name, version, status, codeset), `inputs` (a
        codeset's by its fields, so that a commit shows), `steps` (by name, of each step
        that either run has: status, cached, image, what it does, its inputs, environment,
        outputs, how many elements it has, and always `seconds`), `outputs` (the
        workflows'). What one of them hasn't is None there.
    """
    return {
        "a": a[0].id,
        "b": b[0].id,
        "workflow": _changed(_facts(a), _facts(b)),
        "inputs": _changed(_flat(a[0].workflow.inputs), _flat(b[0].workflow.inputs)),
        "steps": _steps(a, b),
        "outputs": _changed(_flat(outputs_of(*a)), _flat(outputs_of(*b))),
    }


def _facts(found: Found) -> dict[str, Any]:
    run, state = found
    return {
        "name": run.workflow.name,
        "version": run.workflow.version,
        "codeset": run.codeset,
        "status": state.status.value,
    }


def _steps(a: Found, b: Found) -> dict[str, Any]:
    mine, theirs = _by_name(a), _by_name(b)
    seconds = {step.name: _seconds(step) for step in a[1].steps}
    others = {step.name: _seconds(step) for step in b[1].steps}
    found: dict[str, Any] = {}
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        changes = _changed(mine.get(name, {}), theirs.get(name, {}))
        found[name] = {"seconds": (seconds.get(name), others.get(name)), "changes": changes}
    return found


def _by_name(found: Found) -> dict[str, dict[str, Any]]:
    """Each step's definition as it ran and what became of it, flat."""
    run, state = found
    states = {step.name: step for step in state.steps}
    outputs = {step.name: step.outputs for step in state.steps}
    told: dict[str, dict[str, Any]] = {}
    for spec in run.workflow.steps:
        step = states.get(spec.name)
        flat = _definition(_as_run(run, spec, outputs))
        if step is not None:
            flat |= {key: _plain(getattr(step, key)) for key in _STEP_FIELDS}
            counts = step.elements or {}
            flat |= {f"elements.{key}": counts[key] for key in _COUNTS if key in counts}
            flat |= {f"outputs.{key}": value for key, value in _flat(step.outputs).items()}
        told[spec.name] = flat
    return told


def _as_run(run: Run, spec: StepSpec, outputs: Mapping[str, Mapping[str, Any]]) -> StepSpec:
    """The step with what it was given filled in, where the run came as far."""
    try:
        return plan_workflow(run.workflow).rendered(spec.name, outputs)
    except InvalidInput:
        return spec


def _definition(spec: StepSpec) -> dict[str, Any]:
    flat: dict[str, Any] = {
        key: getattr(spec, key) for key in ("uses", "call", "run", "image", "when", "foreach")
    }
    flat |= {f"inputs.{key}": value for key, value in _flat(spec.inputs).items()}
    flat |= {f"env.{key}": value for key, value in spec.env.items()}
    for name, binding in spec.extensions.items():
        flat[f"extensions.{name}"] = f"{binding.extension}/{binding.service} {binding.url}".strip()
    return flat


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Pair]:
    keys = [*a, *(key for key in b if key not in a)]
    pairs = {key: (a.get(key, _MISSING), b.get(key, _MISSING)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with mappings in it, such as a codeset, taken apart by their keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = _flat(cast("Mapping[str, Any]", value))
            flat |= {f"{key}.{name}": each for name, each in inner.items()}
        else:
            flat[key] = value
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):  # an error: what happened is what is compared
        return cast("Mapping[str, Any]", value).get("what")
    return getattr(value, "value", value)


def _seconds(step: StepState) -> float | None:
    if step.started_at is None or step.ended_at is None:
        return None
    return (step.ended_at - step.started_at).total_seconds()
