"""Columns as they were told, and as the model that takes them calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from volant.domain.model import Field
from volant.errors import InvalidInput

# What libraries call columns that had no names: LightGBM, XGBoost, Volant.
_MADE_UP = re.compile(r"(Column_|f|x)\d+")


def in_order(names: Sequence[str], told: tuple[Field, ...]) -> tuple[Field, ...]:
    """What was told, in the order of the model's own `names`; by place where either has only
    made-up names. LightGBM writes `_` for a blank in a name.

    Raises `InvalidInput` where the model has names and others were told.
    """
    known = {re.sub(r"\s", "_", field.name): field for field in told}
    known.update({field.name: field for field in told})
    if names and set(names) <= set(known):
        return tuple(known[name] for name in names)
    made_up = all(map(_MADE_UP.fullmatch, names))
    if made_up and set(names).isdisjoint(known):  # also where it has none
        return told
    if len(told) == len(names) and all(f.name == f"x{i}" for i, f in enumerate(told)):
        return tuple(replace(f, name=n) for n, f in zip(names, told, strict=True))
    raise InvalidInput(
        f"The model takes the columns {listed(names)}; told are {listed([f.name for f in told])}.",
        "Call the columns of the example or signature as the model does, and leave its target out.",
        code="model.signature",
    )


def listed(names: Sequence[str]) -> str:
    """As messages show them: the first twelve."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
