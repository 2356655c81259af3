"""Trying a model by hand: the controls for its columns, and what is wrong with a request.

Everything here is plain Python on a few rows: the control plane calls it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from volant.domain.contract import ColumnRule
from volant.domain.model import Field, Signature
from volant.domain.statistics import ColumnStatistics, NumberStatistics, TrainingStatistics, moment

_CHOICES = 30  # different texts that still make a list to choose from
_SUGGESTIONS = 100
_MOST_FEATURES = 200
_ROUNDING = 1e-9  # of a step: 1.2 / 0.05 is 23.999…
_NUMERIC = frozenset({"number", "integer"})
_NARROW = 1e-12  # of the values: a range that has no room for steps
_LEAST_SPAN, _FARTHEST = 1e-200, 8e307  # so that a step, and a span, are float64s

Control = dict[str, Any]


def trained_controls(signature: Signature, statistics: TrainingStatistics) -> list[Control]:
    """As `controls`, from the statistics of all rows that the model was trained on."""
    known = {column.name: column for column in statistics.columns}
    return [_trained(field, known.get(field.name)) for field in _fields(signature)]


def _trained(field: Field, column: ColumnStatistics | None) -> Control:
    control = _control(field, column.count if column else 0)
    numbers = column.numbers if column else None
    values = column.values if column else ()
    if field.type in _NUMERIC:
        return control | (_slider(field) if numbers is None else _range(field, numbers))
    if field.type == "boolean":
        return control | {"value": bool(values[0].value) if values else False}
    if numbers is not None:
        return control | _moments(numbers)
    texts = [str(one.value) for one in values]
    usual = texts[0] if texts else ""
    if column is not None and column.listed:
        return control | {"values": sorted(texts), "value": usual}
    return control | {"suggestions": texts, "value": usual}


def _range(field: Field, numbers: NumberStatistics) -> Control:
    return _slider(field, numbers.min, numbers.max, numbers.quantiles["p50"])


def _moments(numbers: NumberStatistics) -> Control:
    """A timestamp is written; its quantiles are suggested."""
    told = {share: moment(value) or "" for share, value in numbers.quantiles.items()}
    suggested = sorted({text for text in told.values() if text})
    return {"suggestions": suggested, "value": told["p50"]}


def _control(field: Field, seen: int) -> Control:
    return {"name": field.name, "type": field.type, "nullable": field.nullable, "seen": seen}


def controls(
    signature: Signature,
    rules: Mapping[str, ColumnRule],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> list[Control]:
    """One control for each column that the model takes, in its order, where nobody recorded
    statistics when it was trained.

    Args:
        signature: What the model takes.
        rules: What the dataset's contract says of columns, by name.
        names: The columns of `rows`.
        rows: Rows that the model was trained on, or some of them; may be none.

    Returns:
        For each: name, type, nullable, `value` to begin with, and `seen`, in how many rows
        its range was seen. Numbers have min, max and step; texts `values` to choose from
        or `suggestions`.
    """
    places = {name: place for place, name in enumerate(names)}
    made: list[Control] = []
    for field in _fields(signature):
        place = places.get(field.name)
        seen = [] if place is None else [row[place] for row in rows if row[place] is not None]
        control = _control(field, len(seen))
        rule = rules.get(field.name)
        if field.type in _NUMERIC:
            control |= _number(field, rule, [v for v in seen if is_finite(v)])
        elif field.type == "boolean":
            control |= {"value": bool(_usual(seen, default=False))}
        else:
            control |= _text(rule, [str(value) for value in seen])
        made.append(control)
    return made


def _fields(signature: Signature) -> Sequence[Field]:
    """The columns; of a model that takes one matrix of numbers, its places."""
    if signature.inputs or signature.tensors is None or len(signature.tensors.inputs) != 1:
        return signature.inputs
    (only,) = signature.tensors.inputs
    if only.datatype in ("BYTES", "BOOL") or len(only.shape) != 2:
        return ()
    width = only.shape[1]
    kind = "number" if only.datatype.startswith(("FP", "BF")) else "integer"
    return [
        Field(f"{only.name}[{i}]", kind) for i in range(width if width <= _MOST_FEATURES else 0)
    ]


def is_finite(value: Any) -> bool:
    """Whether a value is a number that has a place on a scale."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(field: Field, rule: ColumnRule | None, seen: Sequence[float]) -> Control:
    low = min(seen) if seen else rule.min if rule else None
    high = max(seen) if seen else rule.max if rule else None
    if low is None and high is None:
        low, high = 0.0, 10.0
    elif low is None or high is None:
        edge = low if low is not None else float(high or 0)
        low, high = (edge, edge + 10.0) if high is None else (edge - 10.0, edge)
    return _slider(field, low, high, sorted(seen)[len(seen) // 2] if seen else None)


def _slider(
    field: Field, low: float = 0.0, high: float = 10.0, middle: float | None = None
) -> Control:
    """From `low` to `high`, beginning at `middle`."""
    whole = field.type == "integer"
    low, high = (max(-_FARTHEST, min(edge, _FARTHEST)) for edge in (low, high))
    size = max(abs(low), abs(high))
    if high - low <= max(_NARROW * size, 0.5 if whole else _LEAST_SPAN):
        room = max(1.0, size / 1000)
        low, high = low - room, high + room
    step = _step(high - low, whole=whole)
    low = math.floor(low / step + _ROUNDING) * step
    high = math.ceil(high / step - _ROUNDING) * step
    if middle is None:
        middle = (low + high) / 2
    return {
        "min": _tidy(low, step, whole=whole),
        "max": _tidy(high, step, whole=whole),
        "step": step,
        "value": int(middle) if whole else middle,
    }


def _step(span: float, *, whole: bool) -> float:
    """About a two-hundredth of `span`: 1, 2 or 5 times a power of ten."""
    rough = span / 200
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    return max(1, round(step)) if whole else step


def _tidy(value: float, step: float, *, whole: bool) -> float | int:
    if whole:
        return round(value)
    return round(value, max(0, 2 - math.floor(math.log10(step))))


def _text(rule: ColumnRule | None, seen: Sequence[str]) -> Control:
    counted = Counter(seen)
    usual = counted.most_common(1)[0][0] if counted else ""
    if rule is not None and rule.values:
        values = [str(value) for value in rule.values]
        return {"values": values, "value": usual if usual in values else values[0]}
    repeated = len(counted) <= _CHOICES and len(seen) >= 2 * len(counted)
    if counted and repeated and max(map(len, counted)) <= 100:
        return {"values": sorted(counted), "value": usual}
    return {"suggestions": [text for text, _ in counted.most_common(_SUGGESTIONS)], "value": usual}


def _usual(seen: Sequence[Any], *, default: Any) -> Any:
    counted = Counter(seen)
    return counted.most_common(1)[0][0] if counted else default
