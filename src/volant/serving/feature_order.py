"""Whether values come in the order of the model's columns, judged by where they lie.

A matrix has no names: a client that sorts its columns, or takes them from another table,
gets answers that look like answers. What gives it away is that values lie outside of what
a column had in training, and inside of what another one had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from volant.serving.trial import Control, is_finite

_SLACK = 0.1  # of a range, on both sides: new data may go a little further
_WELL, _BADLY = 0.9, 0.5  # share of the values within
_SHOWN = 3

Row = Sequence[Any]


def order_report(controls: Sequence[Control], rows: Sequence[Row]) -> dict[str, Any]:
    """What the values of `rows` say about their order.

    Args:
        controls: The model's columns, see `volant.serving.trial`; those whose range
            nobody has seen are left out.
        rows: Values in the order in which the model takes them.

    Returns:
        `rows` looked at; `columns` with `inside`, the share of values within the range,
        `low` and `high` that were sent and, for those that lie outside, the columns that
        they `look_like`; `verdict`: `right`, `outside` or `order`, with a sentence
        `told`; `order` that the client seems to send, if it is a known one.
    """
    judged = [place for place, control in enumerate(controls) if _known(control)]
    columns = [_column(controls, place, rows, judged) for place in judged]
    report: dict[str, Any] = {"rows": len(rows), "columns": columns, "order": None}
    off = [each for each in columns if each["inside"] < _BADLY]
    if not rows or not columns or not off:
        told = "The values lie where the model's training data did." if rows and columns else ""
        return {**report, "verdict": "right", "told": told}
    order = _known_order(controls, rows, judged)
    if order is not None or _exchanged(off):
        how = f" It looks like {order[0]}." if order else ""
        names = ", ".join(f"{each['name']}" for each in off[:_SHOWN])
        return {
            **report,
            "verdict": "order",
            "order": list(order[1]) if order else None,
            "told": f"The columns seem to come in another order than the model's: the values of"
            f" {names} lie where other columns lie.{how}",
        }
    names = ", ".join(each["name"] for each in off[:_SHOWN])
    return {
        **report,
        "verdict": "outside",
        "told": f"The values of {names} lie outside of what the model was trained on.",
    }


def _known(control: Control) -> bool:
    return "min" in control and control["seen"] > 0


def _values(rows: Sequence[Row], place: int) -> list[float]:
    return [row[place] for row in rows if place < len(row) and is_finite(row[place])]


def _share(control: Control, values: Sequence[float]) -> float:
    slack = (control["max"] - control["min"]) * _SLACK
    low, high = control["min"] - slack, control["max"] + slack
    return sum(low <= value <= high for value in values) / len(values) if values else 1.0


def _column(
    controls: Sequence[Control], place: int, rows: Sequence[Row], judged: Sequence[int]
) -> dict[str, Any]:
    values = _values(rows, place)
    inside = _share(controls[place], values)
    others = [
        controls[other]
        for other in judged
        if other != place and inside < _BADLY and _share(controls[other], values) >= _WELL
    ]
    others.sort(key=lambda other: other["max"] - other["min"])  # a narrow range says more
    return {
        "name": controls[place]["name"],
        "inside": round(inside, 3),
        "low": min(values, default=None),
        "high": max(values, default=None),
        "min": controls[place]["min"],
        "max": controls[place]["max"],
        "look_like": [other["name"] for other in others[:_SHOWN]],
    }


def _exchanged(off: Sequence[Mapping[str, Any]]) -> bool:
    return len(off) >= 2 and all(each["look_like"] for each in off)


def _known_order(
    controls: Sequence[Control], rows: Sequence[Row], judged: Sequence[int]
) -> tuple[str, Sequence[str]] | None:
    """An order that clients are known to send, if the values would lie well in it."""
    names = [control["name"] for control in controls]
    by_name = {control["name"]: control for control in controls}
    # The order that a client sends, and how to call it.
    tried: list[tuple[str, Callable[[], list[str]]]] = [
        ("alphabetical order", lambda: sorted(names)),
        ("alphabetical order without regard to case", lambda: sorted(names, key=str.casefold)),
        ("the model's order backwards", lambda: names[::-1]),
    ]
    for told, make in tried:
        order = make()
        if order == names:
            continue
        shares = [
            _share(by_name[order[place]], _values(rows, place))
            for place in range(len(names))
            if _known(by_name[order[place]])
        ]
        if shares and min(shares) >= _BADLY and sum(shares) / len(shares) >= _WELL:
            return told, order
    return None
