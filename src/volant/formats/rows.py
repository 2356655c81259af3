"""Rows to try a model on: the example's, those shaken, and rows drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volant.domain.model import Field

COUNT = 500
_MISSING_SHARE = 0.1

Ranges = Mapping[str, tuple[float, float]]


def sample_rows(
    fields: Sequence[Field],
    example: Mapping[str, Sequence[Any]],
    ranges: Ranges,
    seed: int = 0,
) -> dict[str, list[Any]]:
    """`COUNT` rows by column, some values missing where the field allows it.

    A third is the example as it is, a third the example's values with normal noise (of
    their spread, or of their size where all are equal), a third uniform over `ranges`:
    the model's own where it knows them, else one spread beyond the example, else normal
    numbers of mean 0 at scales 1 and 100.
    """
    rng = np.random.default_rng(seed)
    return {
        field.name: _holed(
            _column(field, [v for v in example.get(field.name, ()) if v is not None], ranges, rng),
            field,
            rng,
        )
        for field in fields
    }


def _column(field: Field, known: list[Any], ranges: Ranges, rng: np.random.Generator) -> list[Any]:
    if field.type == "boolean":
        return [bool(v) for v in rng.integers(0, 2, COUNT)]
    if field.type in ("string", "timestamp"):
        pool = [str(v) for v in known] or [_text(field.type, i) for i in range(5)]
        extra = [] if field.type == "timestamp" else ["", "never seen"]
        return [(pool + extra)[i] for i in rng.integers(0, len(pool) + len(extra), COUNT)]
    numbers = _numbers(np.array(known, dtype=np.float64), ranges.get(field.name), rng)
    if field.type == "integer":
        return [round(v) for v in numbers.tolist()]
    return numbers.tolist()


def _numbers(
    known: np.ndarray[Any, Any], told: tuple[float, float] | None, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    third = COUNT // 3
    if not len(known):
        if told is not None:
            low, high = _wider(*told)
            return rng.uniform(low, high, COUNT)
        return np.concatenate([rng.normal(size=COUNT // 2), rng.normal(0, 100, COUNT - COUNT // 2)])
    spread = float(known.std()) or abs(float(known[0])) or 1.0
    picked = rng.choice(known, 2 * third)
    shaken = picked[third:] + rng.normal(0, spread, third)
    low, high = _wider(*(told or (float(known.min()), float(known.max()))))
    drawn = rng.uniform(low, high, COUNT - 2 * third)
    return np.concatenate([picked[:third], shaken, drawn])


def _wider(low: float, high: float) -> tuple[float, float]:
    """A tenth more on both sides, so that the outermost thresholds are passed too."""
    room = (high - low) * 0.1 or abs(low) or 1.0
    return low - room, high + room


def _holed(values: list[Any], field: Field, rng: np.random.Generator) -> list[Any]:
    if not field.nullable:
        return values
    holes = rng.random(len(values)) < _MISSING_SHARE
    return [None if hole else value for value, hole in zip(values, holes, strict=True)]


def _text(kind: str, index: int) -> str:
    return f"2030-01-0{index + 1}T00:00:00" if kind == "timestamp" else f"text {index}"
