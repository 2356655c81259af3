"""Recipes: trainings that are written already, with the options that each takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from volant.yamltext.problems import nearest


@dataclass(frozen=True, slots=True)
class Option:
    """`kind` is `text`, `integer` or `number`; a number lies between `low` and `high`, a
    text among `choices` if there are any. One without a default has to be given."""

    kind: str
    default: Any = None
    required: bool = False
    low: float = 0.0
    high: float = 1e9
    choices: tuple[str, ...] = ()


class Fault(NamedTuple):
    """What is wrong with one option."""

    key: str
    what: str
    fix: str


RECIPES: Mapping[str, Mapping[str, Option]] = {
    "text-classification": {
        "model": Option("text", required=True),
        "text": Option("text"),
        "epochs": Option("integer", 3, low=1, high=10_000),
        "batch": Option("integer", 16, low=1, high=65_536),
        "accumulate": Option("integer", 1, low=1, high=65_536),
        "learning_rate": Option("number", 5e-5, low=1e-9, high=1.0),
        "weight_decay": Option("number", 0.01, low=0.0, high=1.0),
        "warmup": Option("number", 0.06, low=0.0, high=1.0),
        "max_length": Option("integer", 256, low=4, high=1_000_000),
        "checkpoint_s": Option("number", 60.0, low=0.0, high=86_400.0),
        "precision": Option("text", "auto", choices=("auto", "float32", "bfloat16", "float16")),
        "serve": Option("text", "auto", choices=("auto", "pipeline")),
    },
}
TASKS: Mapping[str, str] = {"text-classification": "classification"}


def faults(recipe: str, params: Mapping[str, Any]) -> Iterator[Fault]:
    """Everything that is wrong with a known recipe's options."""
    options = RECIPES[recipe]
    for key, value in params.items():
        if key not in options:
            near = nearest(key, options)
            fix = f"Did you mean {near}?" if near else f"It takes: {', '.join(options)}."
            yield Fault(key, f"{key} is no option of the recipe {recipe}.", fix)
        elif (fix := _why_not(options[key], value)) is not None:
            yield Fault(key, f"{key} can't be {str(value)[:80]!r}.", fix)
    for key, option in options.items():
        if option.required and params.get(key) is None:
            yield Fault("", f"The recipe {recipe} needs {key}.", f"Add {key} to train.params.")


def _why_not(option: Option, value: Any) -> str | None:
    if value is None and not option.required:
        return None
    if option.kind == "text":
        if not isinstance(value, str) or not value:
            return "Write a text."
        if option.choices and value not in option.choices:
            return f"Use one of: {', '.join(option.choices)}."
        return None
    kinds = (int,) if option.kind == "integer" else (int, float)
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if number and option.low <= cast("float", value) <= option.high:
        return None
    kind = "whole number" if option.kind == "integer" else "number"
    return f"Write a {kind} from {option.low:g} to {option.high:g}."


def with_defaults(recipe: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a recipe with its value."""
    given = {key: value for key, value in params.items() if value is not None}
    return {key: given.get(key, option.default) for key, option in RECIPES[recipe].items()}
