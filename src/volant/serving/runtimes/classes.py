"""What gradient boosting answers, as labels and probabilities."""

from __future__ import annotations

import numpy as np

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.runtimes.labels import cast_labels, label_kind


def by_probability(raw: Array, description: Description) -> dict[str, Array]:
    """`raw` [n] is a regression's value, or the second class's probability; [n, k] are the
    classes' probabilities."""
    if description.probabilities is None or description.classes is None:
        return {"prediction": raw.reshape(-1)}
    probabilities = np.stack([1.0 - raw, raw], axis=1) if raw.ndim == 1 else raw
    classes = np.empty(len(description.classes), dtype=object)
    classes[:] = description.classes
    labels = classes[probabilities.argmax(axis=1)]
    kind = label_kind(description)
    if kind is None:
        labels = labels.astype(np.float64)
    return {
        "prediction": cast_labels(labels, kind),
        "probabilities": probabilities.astype(np.float64),
    }
