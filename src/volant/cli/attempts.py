"""A step's attempts, where it took several: in what each ended, and what was spared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(step: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people; none for a step that took one attempt."""
    for name, lives in _lives(step):
        for place, attempt in enumerate(lives["attempts"], 1):
            yield f"{name} attempt {place}: {_life(attempt)}"
        yield f"{name}: {_spared(lives)}"


def number(step: Mapping[str, Any]) -> int:
    """Which attempt it is at, or ended in, as `lines` counts them: one that went down with
    the control plane is an attempt too, which the engine doesn't count."""
    ended = max((len(lives["attempts"]) for _, lives in _lives(step)), default=0)
    return max(step["attempt"], ended + (step["status"] == "running") if ended else 0)


def _lives(step: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What is told of attempts, by whom: of a step with `foreach` one of each element, or of
    the one that failed."""
    name, details = step["name"], (step["error"] or {}).get("details") or {}
    told = step["outputs"].get("survived") or details.get("survived")
    element = details.get("element")
    named = [(name if element is None else f"{name}/{element}", told)]
    if isinstance(told, list):
        named = [(f"{name}/{place}", each) for place, each in enumerate(told)]
    for who, lives in named:
        if isinstance(lives, dict) and "attempts" in lives:
            yield who, lives


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
