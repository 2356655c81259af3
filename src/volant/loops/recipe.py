"""`train.recipe` of a volant.yaml: a training that is written already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volant.domain.recipe import RECIPES, TASKS, faults
from volant.yamltext.problems import nearest
from volant.yamltext.reading import Section


def recipe_of(train: Section, params: Mapping[str, Any], task: str | None) -> str | None:
    """The recipe's name, if the section has one; what is wrong is noted."""
    name = train.text("recipe")
    if name is None:
        return None
    for other in ("automl", "call"):
        if other in train:
            train.bad(
                other, f"train has both recipe and {other}.", "Keep the one that shall train."
            )
    if "tune" in train:
        train.bad("tune", "train.tune searches for a call's parameters.", "Delete it.")
    if name not in RECIPES:
        guess = nearest(name, RECIPES)
        fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(RECIPES)}."
        train.bad("recipe", f"train.recipe {name[:80]!r} is no recipe.", fix)
        return None
    for fault in faults(name, params):
        where = "params" if "params" in train else "recipe"
        train.bad(where, f"train.params: {fault.what}", fault.fix)
    if task not in (None, TASKS[name]):
        train.bad("task", f"The recipe {name} does {TASKS[name]}.", "Delete train.task.")
    return name
