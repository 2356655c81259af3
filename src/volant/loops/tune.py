"""`train.tune` of a volant.yaml: the search for a training function's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yaml.nodes import Node, ScalarNode

from volant.domain.loop import SearchRange, TuneSpec
from volant.domain.metric import GREATER_IS_BETTER
from volant.yamltext.problems import nearest
from volant.yamltext.reading import Reading, Section, describe

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "asha", "none")
DIRECTIONS = ("minimize", "maximize")
RANGES = ("uniform", "loguniform", "int", "logint", "choice")

_KEYS = (
    *("space", "trials", "parallel", "sampler", "pruner", "timeout", "metric", "direction"),
    "folds",
)
_MOST = 100  # parameters, and values of a choice
_GRID_RANGE = 1000
_EXACT = 2**53  # beyond, a float64 skips integers
_MOST_TRIALS = 10_000
_DAY = 86_400.0
_RANGE_FIX = (
    "Write one of {uniform: [0, 1]}, {loguniform: [1e-4, 1]}, {int: [1, 9]},"
    " {logint: [1, 1024]} and {choice: [a, b]}."
)


def tune_of(
    reading: Reading,
    train: Section,
    params: Mapping[str, Any],
    mention: Callable[[str, Node, str], None],
) -> TuneSpec | None:
    """Read the section; what is wrong is noted, and has its default then. `mention` hears of
    a metric that Volant knows, for it tells the loop's task."""
    node = train.child("tune")
    if node is None:
        return None
    if "call" not in train:
        train.bad(
            "tune",
            "train.tune searches for the parameters of train.call, which isn't there.",
            "Name your function with train.call; automl searches by itself.",
        )
    section = reading.section(node, train.at("tune"), _KEYS, required=("space",))
    if section is None:
        return None
    space = _space(section, params)
    sampler = _one_of(section, "sampler", SAMPLERS)
    if sampler == "grid":
        _check_grid(section, space)
    metric = section.text("metric")
    if metric in GREATER_IS_BETTER:
        mention(metric, section.items["metric"], section.at("metric"))
    return TuneSpec(
        space=space,
        trials=section.integer("trials", 20, 1, _MOST_TRIALS),
        parallel=section.integer("parallel", 1, 1, 64),
        sampler=sampler,
        pruner=_one_of(section, "pruner", PRUNERS),
        timeout_s=section.duration("timeout", 1, 30 * _DAY),
        metric=metric,
        direction=_direction(section, metric),
        folds=_folds(section, metric),
    )


def _one_of(section: Section, key: str, known: tuple[str, ...]) -> str:
    given = section.text(key)
    if given is None or given in known:
        return given or known[0]
    guess = nearest(given, known)
    fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(known)}."
    section.bad(key, f"{section.at(key)} {given[:80]!r} isn't there.", fix)
    return known[0]


def _direction(section: Section, metric: str | None) -> str | None:
    """Which way a metric of the user's own is better; Volant knows it of its own ones."""
    given = _one_of(section, "direction", DIRECTIONS) if "direction" in section else None
    own = metric is not None and metric not in GREATER_IS_BETTER
    if own and given is None and not section.reading.problems:
        section.bad(
            "direction",
            f"{section.at('metric')} {str(metric)[:80]!r} is no metric Volant knows: its direction"
            " is missing.",
            "Add direction: minimize, or maximize.",
        )
    if given is not None and not own:
        section.bad(
            "direction",
            f"{section.at('direction')} stands beside a metric whose direction is known.",
            "Delete the key.",
        )
    return given


def _folds(section: Section, metric: str | None) -> int:
    folds = section.integer("folds", 1, 1, 20)
    if folds > 1 and metric is not None and metric not in GREATER_IS_BETTER:
        section.bad(
            "folds",
            f"{section.at('folds')} is for metrics that Volant measures, and your function"
            f" measures {metric[:80]!r} itself.",
            "Delete the key.",
        )
    return folds


def _space(section: Section, params: Mapping[str, Any]) -> dict[str, SearchRange]:
    node = section.child("space")
    if node is None:
        return {}
    path = section.at("space")
    found: dict[str, SearchRange] = {}
    for name, (key_node, value) in (section.reading.pairs(node, path) or {}).items():
        if name in params:
            what = f"{path}.{name[:60]} stands in train.params too."
            section.reading.bad(key_node, f"{path}.{name[:60]}", what, "Keep one of the two.")
        made = _range(section.reading, value, f"{path}.{name[:60]}")
        if made is not None:
            found[name] = made
    if not found and not section.reading.problems:
        section.bad("space", f"{path} is empty.", _RANGE_FIX)
    if len(found) > _MOST:
        section.bad("space", f"{path} has {len(found)} parameters.", f"Search at most {_MOST}.")
    return found


def _range(reading: Reading, node: Node, path: str) -> SearchRange | None:
    if isinstance(node, ScalarNode):
        what = f"{path} must be a mapping, not {describe(node)}."
        reading.bad(node, path, what, _RANGE_FIX)
        return None
    section = reading.section(node, path, RANGES)
    if section is None:
        return None
    if len(section.items) != 1:
        if not reading.problems:
            reading.bad(node, path, f"{path} needs exactly one range.", _RANGE_FIX)
        return None
    kind, value = next(iter(section.items.items()))
    items = reading.listing(value, section.at(kind))
    if items is None:
        return None
    if kind == "choice":
        return _choice(reading, items, value, section.at(kind))
    return _bounds(section, kind, items, value)


def _choice(reading: Reading, items: list[Node], node: Node, path: str) -> SearchRange | None:
    if not 1 <= len(items) <= _MOST:
        reading.bad(node, path, f"{path} has {len(items)} values.", f"Write 1 to {_MOST}.")
        return None
    values = tuple(reading.plain(item, f"{path}[{i}]") for i, item in enumerate(items))
    return SearchRange("choice", choices=values)


def _bounds(section: Section, kind: str, items: list[Node], node: Node) -> SearchRange | None:
    reading, path = section.reading, section.at(kind)
    whole = kind in ("int", "logint")
    if len(items) != 2:
        what = f"{path} has {len(items)} values."
        reading.bad(node, path, what, "Write the least and the greatest: [1, 9].")
        return None
    numbers = [reading.number(item, f"{path}[{i}]", whole=whole) for i, item in enumerate(items)]
    low, high = numbers
    if low is None or high is None:
        return None
    if low > high:
        reading.bad(node, path, f"{path}: {low} is above {high}.", "Swap them.")
        return None
    if whole and max(abs(low), abs(high)) > _EXACT:
        reading.bad(node, path, f"{path} is too wide.", f"Stay within ±{_EXACT}.")
        return None
    if kind.startswith("log") and low <= 0:
        what = f"{path} begins at {low}, and a logarithm needs more than 0."
        reading.bad(node, path, what, "Begin above 0, or use uniform or int.")
        return None
    return SearchRange(kind, float(low), float(high))


def _check_grid(section: Section, space: Mapping[str, SearchRange]) -> None:
    for name, one in space.items():
        whole = one.kind == "int" and (one.high or 0) - (one.low or 0) < _GRID_RANGE
        if one.kind != "choice" and not whole:
            section.bad(
                "sampler",
                f"{section.at('sampler')}: a grid can't hold {section.at('space')}.{name[:60]},"
                f" a range of {'very many values' if one.kind == 'int' else one.kind}.",
                "Write its values as {choice: […]}, or use another sampler.",
            )


def tune_document(tune: TuneSpec, duration: Callable[[float], str]) -> dict[str, Any]:
    """`tune` under the file's own keys; `duration` writes seconds with a unit."""
    found: dict[str, Any] = {
        "space": {name: {one.kind: _values(one)} for name, one in tune.space.items()},
        "trials": tune.trials,
        "parallel": tune.parallel,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
    }
    others = {
        "timeout": None if tune.timeout_s is None else duration(tune.timeout_s),
        "metric": tune.metric,
        "direction": tune.direction,
        "folds": tune.folds if tune.folds > 1 else None,
    }
    return found | {key: value for key, value in others.items() if value is not None}


def _values(one: SearchRange) -> list[Any]:
    if one.kind == "choice":
        return list(one.choices)
    bounds = [one.low or 0.0, one.high or 0.0]
    return [int(bound) for bound in bounds] if one.kind in ("int", "logint") else bounds
