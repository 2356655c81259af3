"""What a search may choose from: one range a parameter, as the loop file has them.

A parameter is drawn as what Optuna can hold (a number, or the place of a choice), and used
as what the user wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING, Any

from volant.domain.loop import SearchRange
from volant.errors import InvalidInput

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, SearchRange]
Drawn = Mapping[str, float | int]


def grid_size(space: Space) -> int:
    """How many points a grid over `space` has. Raises `InvalidInput` for a range that isn't
    a list of values."""
    return prod(len(_points(name, one)) for name, one in space.items())


def grid_point(space: Space, number: int) -> dict[str, int]:
    """The point of that number, the last parameter changing fastest."""
    points = product(*(_points(name, one) for name, one in space.items()))
    values = next(islice(points, number, None))
    return dict(zip(space, values, strict=True))


def _points(name: str, one: SearchRange) -> range:
    if one.kind == "choice":
        return range(len(one.choices))
    if one.kind == "int" and one.low is not None and one.high is not None:
        return range(int(one.low), int(one.high) + 1)
    raise InvalidInput(
        f"A grid can't hold the range {one.kind} of {name!r}.",
        "Write its values as {choice: […]}, or use another sampler.",
    )


def used(space: Space, drawn: Drawn) -> dict[str, Any]:
    """What was drawn, as the training function gets it."""
    found: dict[str, Any] = {}
    for name, one in space.items():
        value = drawn[name]
        found[name] = one.choices[int(value)] if one.kind == "choice" else value
    return found


def draw(space: Space, trial: optuna.Trial) -> dict[str, float | int]:
    """Let Optuna's sampler choose each parameter."""
    found: dict[str, float | int] = {}
    for name, one in space.items():
        log = one.kind.startswith("log")
        low, high = one.low or 0.0, one.high or 0.0
        if one.kind == "choice":
            found[name] = trial.suggest_categorical(name, list(range(len(one.choices))))
        elif one.kind in ("int", "logint"):
            found[name] = trial.suggest_int(name, int(low), int(high), log=log)
        else:
            found[name] = trial.suggest_float(name, low, high, log=log)
    return found


def distributions(space: Space) -> dict[str, Any]:
    """`space` in Optuna's words."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, Any] = {}
    for name, one in space.items():
        log = one.kind.startswith("log")
        low, high = one.low or 0.0, one.high or 0.0
        if one.kind == "choice":
            found[name] = CategoricalDistribution(list(range(len(one.choices))))
        elif one.kind in ("int", "logint"):
            found[name] = IntDistribution(int(low), int(high), log=log)
        else:
            found[name] = FloatDistribution(low, high, log=log)
    return found
