"""A step's attempts, where it took several: in what each ended, and what was spared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(step: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people; none for a step that took one attempt."""
    details = (step["error"] or {}).get("details") or {}
    told = step["outputs"].get("survived") or details.get("survived")
    for name, lives in _named(step["name"], told, details.get("element")):
        if not isinstance(lives, dict) or "attempts" not in lives:
            continue
        for number, attempt in enumerate(lives["attempts"], 1):
            yield f"{name} attempt {number}: {_life(attempt)}"
        yield f"{name}: {_spared(lives)}"


def _named(step: str, told: Any, element: int | None) -> Iterator[tuple[str, Any]]:
    """What is told, by whom: of a step with `foreach` one of each element, or of the one
    that failed."""
    if isinstance(told, list):
        yield from ((f"{step}/{index}", each) for index, each in enumerate(told))
    else:
        yield (step if element is None else f"{step}/{element}"), told


def _life(attempt: Mapping[str, Any]) -> str:
    words = f"{attempt['ended'] or 'at work'} after {attempt['took_s']:.1f} s"
    if attempt["resumed_from"] is not None:
        words += f", went on from checkpoint {attempt['resumed_from']}"
    if attempt["saved"] is not None:
        words += f", left checkpoint {attempt['saved']}"
    return words


def _spared(told: Mapping[str, Any]) -> str:
    words = f"{told['spared_s']:.1f} s of work not repeated"
    if "spared_cost" in told:
        words += f", worth {told['spared_cost']:.4f} at {told['price_per_hour']:g} an hour"
    return words
