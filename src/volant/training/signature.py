"""What a trained model takes and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volant.domain.contract import ColumnType
from volant.domain.model import Field, Signature


def signature_of(task: str, inputs: Sequence[Field], classes: Sequence[Any] | None) -> Signature:
    """Outputs by task: `prediction`, and `probabilities` when the classes are known."""
    if task == "regression":
        return Signature(tuple(inputs), (Field("prediction", ColumnType.NUMBER.value),), task)
    first = classes[0] if classes else ""
    kind = ColumnType.STRING
    if isinstance(first, bool):
        kind = ColumnType.BOOLEAN
    elif isinstance(first, int):
        kind = ColumnType.INTEGER
    elif isinstance(first, float):
        kind = ColumnType.NUMBER
    outputs = [Field("prediction", kind.value)]
    if classes is not None:
        outputs.append(Field("probabilities", ColumnType.NUMBER.value))
    return Signature(
        tuple(inputs), tuple(outputs), task, None if classes is None else tuple(classes)
    )
