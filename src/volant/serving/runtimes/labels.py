"""Predictions in the type that the signature promises."""

from __future__ import annotations

import numpy as np

from volant.serving.datatypes import Array
from volant.serving.description import Description

_KINDS: dict[str, type] = {"boolean": bool, "integer": int, "string": str}


def label_kind(description: Description) -> type | None:
    """The Python type of the prediction; None for numbers as they are."""
    return _KINDS.get(description.prediction)


def cast_labels(labels: Array, kind: type | None) -> Array:
    """`labels` [n] as bool, int64, objects of `str`, or as they are."""
    if kind is None:
        return labels
    if kind is bool:
        if labels.dtype == object or labels.dtype.kind in "US":
            return np.array([str(v).lower() in ("true", "1") for v in labels.tolist()])
        return labels.astype(np.bool_)
    if kind is int:
        return labels.astype(np.int64, copy=False)
    return np.array([str(v) for v in labels.tolist()], dtype=object)
