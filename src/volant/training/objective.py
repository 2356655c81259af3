"""What a search looks for: a metric, its key among a run's metrics, and its direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volant.domain.loop import TuneSpec
from volant.domain.metric import DEFAULT_METRIC, GREATER_IS_BETTER, TASK_METRICS
from volant.errors import InvalidInput
from volant.yamltext.problems import nearest


@dataclass(frozen=True, slots=True)
class Objective:
    """`own`: the user's function measures it, under `key`; else Volant does, on rows set
    aside."""

    metric: str
    key: str
    greater: bool
    own: bool


def objective_of(spec: TuneSpec, metric: Any, task: str) -> Objective:
    """The search's own metric, else the loop's `metric`, else the task's."""
    named = spec.metric
    if named is not None and named not in GREATER_IS_BETTER:
        return Objective(named, named, spec.direction == "maximize", own=True)
    known = metric_of(named or metric, task)
    return Objective(known, f"val_{known}", GREATER_IS_BETTER[known], own=False)


def metric_of(name: Any, task: str) -> str:
    """`name` if it is a metric of `task`, that task's own if there is no name. Raises
    `InvalidInput`."""
    known = TASK_METRICS.get(task)
    if known is None:
        raise InvalidInput(f"{task!r} isn't a task.", f"Use one of: {', '.join(TASK_METRICS)}.")
    if not name:
        return DEFAULT_METRIC[task]
    if name in known:
        return str(name)
    near = nearest(str(name), known)
    raise InvalidInput(
        f"{name!r} isn't a metric of {task}.",
        f"Did you mean {near!r}?" if near else f"Use one of: {', '.join(known)}.",
        details={"metric": name, "known": list(known)},
    )
