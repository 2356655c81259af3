"""AutoML on a table: the best pipeline that a budget of seconds can find."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from volant.training.budget import Deadline
from volant.training.columns import TableInput, slots_of
from volant.training.families import Candidate, Setting, build, simplest
from volant.training.prepare import Preparation, plan_preparation
from volant.training.search import Outcome, Problem, Score, Search, fit_quietly, ranked

# The search sees at most so many rows, fewer when the budget is short: a short look at
# many families finds more than a long look at one.
_SEARCH_ROWS = 40_000
_SEARCH_ROWS_LEAST = 5_000
_SEARCH_ROWS_A_SECOND = 1_500
_CELLS_FOR_THREADS = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """A fitted pipeline and how it was found. `history` holds every trial."""

    pipeline: Pipeline
    params: dict[str, Any]
    scores: dict[str, float]
    history: list[dict[str, Any]]


def find_model(
    rows: Any,
    target: NDArray[Any],
    names: Sequence[str],
    types: Sequence[str],
    *,
    task: str,
    metric: str,
    budget_s: float,
    seed: int,
    score: Score,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    most_trials: int | None = None,
) -> Found:
    """Search and fit within `budget_s` seconds by `clock`, the final fit included.

    `rows` is anything that `TableInput` takes, `target` its labels or values [n].
    The same seed and the same number of trials give the same model. A model comes
    back whatever the budget: at worst the simplest one, fitted once. A fit that has
    begun isn't cut, so one that takes far longer than its like did can overrun.
    """
    deadline = Deadline.start(budget_s, clock)
    table_input = TableInput(list(names), list(types))
    matrix = table_input.transform(rows)
    preparation = plan_preparation(matrix, slots_of(names, types))
    setting = Setting(task, seed, _threads(len(matrix), preparation.width))
    most = max(_SEARCH_ROWS_LEAST, min(_SEARCH_ROWS, int(_SEARCH_ROWS_A_SECOND * budget_s)))
    sample = _sample(target, task, seed, most)
    problem = Problem(
        matrix[sample], target[sample], preparation, setting, metric, rows_in_all=len(matrix)
    )
    search = Search(problem, score, deadline, say)
    if most_trials is not None:
        search.most_trials = most_trials
    search.run()
    chosen = _choose(search)
    candidate = chosen.candidate if chosen else simplest()
    say(f"fitting {candidate.family} on all {len(matrix)} rows")
    pipeline = _fit(candidate, problem, matrix, target, table_input)
    params = {
        "family": candidate.family,
        **candidate.params,
        "trials": len(search.outcomes),
        "seed": seed,
        "budget_s": budget_s,
    }
    return Found(pipeline, params, chosen.scores if chosen else {}, _history(search, metric))


def _threads(rows: int, width: int) -> int:
    """On small tables, starting threads costs more than they save."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1 if rows * width >= _CELLS_FOR_THREADS else 1


def _sample(target: NDArray[Any], task: str, seed: int, most: int) -> NDArray[np.int64]:
    """The rows to search on: all, or a random part in the table's order that keeps at
    least two rows of each class."""
    rows = len(target)
    if rows <= most:
        return np.arange(rows)
    drawn = np.random.default_rng(seed).permutation(rows)
    taken = np.zeros(rows, dtype=bool)
    taken[drawn[:most]] = True
    if task == "classification":
        for label in np.unique(target):
            taken[drawn[target[drawn] == label][:2]] = True
    return np.flatnonzero(taken)


def _choose(search: Search) -> Outcome | None:
    """The best candidate whose final fit is expected to end in time, else the cheapest."""
    outcomes = search.ranked()
    left = search.deadline.left()
    for outcome in outcomes:
        if search.final_cost(outcome.candidate) <= left:
            return outcome
    return min(outcomes, key=lambda o: search.final_cost(o.candidate), default=None)


def _fit(
    candidate: Candidate,
    problem: Problem,
    matrix: NDArray[Any],
    target: NDArray[Any],
    table_input: TableInput,
) -> Pipeline:
    preparation: Preparation = problem.preparation
    transformer = preparation.transformer(scaled=candidate.scaled)
    estimator = build(candidate, problem.setting)
    fit_quietly(estimator, transformer.fit_transform(matrix), target)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=1)  # a served row is never worth a thread pool
    return Pipeline([("input", table_input), ("prepare", transformer), ("model", estimator)])


def _history(search: Search, metric: str) -> list[dict[str, Any]]:
    """The metric by trial, and the best complete one so far."""
    points: list[dict[str, Any]] = []
    for count, outcome in enumerate(search.outcomes, start=1):
        best = ranked(search.outcomes[:count], metric)[0].value
        points.append({"key": f"cv_{metric}", "value": outcome.value, "step": outcome.number})
        points.append({"key": f"cv_{metric}_best", "value": best, "step": outcome.number})
    return points
