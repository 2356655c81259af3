"""Slices: groups of a holdout's rows on which a model mustn't get worse.

A model that is better on the whole may be worse for some: for one color, one country, the
largest orders. A slice rule compares challenger and champion on each group of one column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.errors import InvalidInput
from volant.evaluation.metrics import Judged, scores
from volant.yamltext.problems import nearest

MOST_GROUPS = 20  # of a column's values, by rows; the rest are one group
_BANDS = 4  # of a column of numbers, each with as many rows


@dataclass(frozen=True, slots=True)
class Group:
    """`rows` [n] is true where a row belongs to the group."""

    name: str
    rows: NDArray[np.bool_]


def groups_of(holdout: pa.Table, column: str) -> list[Group]:
    """The groups of a column: its values where these are text, booleans or few, else
    quarters of its numbers' range with as many rows each; rows without a value are a group.

    Raises `InvalidInput` when the holdout has no such column, or none that can be grouped.
    """
    if column not in holdout.column_names:
        near = nearest(column, holdout.column_names)
        raise InvalidInput(
            f"gate.slices names the column {column!r}, which the holdout doesn't have.",
            f"Did you mean {near!r}?" if near else f"Use: {', '.join(holdout.column_names)}.",
            code="gate.unknown_slice",
            details={"column": column, "known": holdout.column_names},
        )
    values = holdout.column(column).combine_chunks()
    numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    counted = sorted(
        ((each["counts"], each["values"]) for each in values.value_counts().to_pylist()),
        key=lambda pair: (-pair[0], str(pair[1])),
    )
    # 0.0 and -0.0 are counted apart.
    kinds = list(dict.fromkeys(v for _, v in counted if v is not None and not _is_nan(v)))
    if numeric and len(kinds) > MOST_GROUPS:
        found = _bands(values, column)
    else:
        found = _values(values, kinds, column)
    missing = _missing(values)
    if missing.any():
        found.append(Group(f"{column} is missing", missing))
    return found


def _values(values: pa.Array, kinds: Sequence[Any], column: str) -> list[Group]:
    plain = np.empty(len(values), dtype=object)
    plain[:] = values.to_pylist()
    found = [
        Group(f"{column} = {kind}", np.asarray(plain == kind, dtype=bool))
        for kind in kinds[:MOST_GROUPS]
    ]
    if len(kinds) > MOST_GROUPS:
        named = np.logical_or.reduce([group.rows for group in found])
        rest = ~named & ~_missing(values)
        found.append(Group(f"{column}: {len(kinds) - MOST_GROUPS} other values", rest))
    return found


def _bands(values: pa.Array, column: str) -> list[Group]:
    numbers = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    known = ~np.isnan(numbers)
    cuts = np.unique(
        np.quantile(numbers[np.isfinite(numbers)], np.linspace(0, 1, _BANDS + 1)[1:-1])
    )
    edges = [-np.inf, *cuts.tolist(), np.inf]
    found: list[Group] = []
    for low, high in pairwise(edges):
        rows = known & ((numbers > low) | (low == -np.inf)) & (numbers <= high)
        above = f"{low:g} < " if np.isfinite(low) else ""
        below = f" ≤ {high:g}" if np.isfinite(high) else ""
        if rows.any():
            found.append(Group(f"{above}{column}{below}", rows))
    return found


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _missing(values: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(values.is_null(nan_is_null=True))


def within(judged: Judged, group: Group) -> Judged:
    """What was said about the group's rows only."""
    table = judged.probabilities
    return Judged(
        judged.task,
        judged.truth[group.rows],
        judged.predicted[group.rows],
        judged.classes,
        None if table is None else table[group.rows],
    )


def measured(judged: Judged, groups: Sequence[Group]) -> Mapping[str, Mapping[str, float]]:
    """Every metric on every group, and how many rows it has."""
    return {
        group.name: {"rows": float(group.rows.sum()), **scores(within(judged, group))}
        for group in groups
    }
