"""Columns as they were told, and as the model that takes them calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from volant.domain.model import Field
from volant.errors import InvalidInput

# What columns are called that had no names, before their numbers from 0 on: by LightGBM (by its
# estimators too, in their `feature_names_in_`, up to 4.6), by XGBoost, by Volant.
_OF_ESTIMATORS = ("Column_",)
_MADE_UP = (*_OF_ESTIMATORS, "f", "x")


def in_order(
    names: Sequence[str], told: tuple[Field, ...], *, estimator: bool = False
) -> tuple[Field, ...]:
    """What was told, in the order of the model's own `names`; by place where either has only
    made-up names. LightGBM writes `_` for a blank in a name. `estimator`: `names` are those
    that scikit-learn keeps, which makes none up.

    Raises `InvalidInput` where the model has names and others were told.
    """
    known = {re.sub(r"\s", "_", field.name): field for field in told}
    known.update({field.name: field for field in told})
    if names and set(names) <= set(known):
        return tuple(known[name] for name in names)
    made_up = _made_up(names, _OF_ESTIMATORS if estimator else _MADE_UP)
    if made_up and set(names).isdisjoint(known):  # also where it has none
        return told
    if len(told) == len(names) and all(f.name == f"x{i}" for i, f in enumerate(told)):
        return tuple(replace(f, name=n) for n, f in zip(names, told, strict=True))
    raise InvalidInput(
        f"The model takes the columns {listed(names)}; told are {listed([f.name for f in told])}.",
        "Call the columns of the example or signature as the model does, and leave its target out.",
        code="model.signature",
    )


def _made_up(names: Sequence[str], prefixes: Sequence[str]) -> bool:
    """Whether they are numbered whole and in order: `f1`, `f2` are a person's."""
    return any(all(n == f"{p}{i}" for i, n in enumerate(names)) for p in prefixes)


def listed(names: Sequence[str]) -> str:
    """As messages show them: the first twelve."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
