"""A step's attempts, where it took several: in what each ended, and what was spared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(step: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people; none for a step that took one attempt."""
    details = (step["error"] or {}).get("details") or {}
    told = step["outputs"].get("survived") or details.get("survived")
    if not isinstance(told, dict) or "attempts" not in told:
        return
    for number, attempt in enumerate(told["attempts"], 1):
        yield f"{step['name']} attempt {number}: {_life(attempt)}"
    yield f"{step['name']}: {_spared(told)}"


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
