"""What a segment of the prediction log says of itself: who answered, and in which columns."""

from __future__ import annotations

from typing import Any

from volant.serving.description import Description
from volant.serving.replica_spec import Assignment


def meta_of(assignment: Assignment, model: Description) -> dict[str, Any]:
    """deployment, model, version, revision, and of the model what turns arrays back into
    named columns."""
    return {
        "deployment": assignment.deployment,
        "model": assignment.model,
        "version": assignment.version,
        "revision": assignment.revision,
        "columns": [{"name": c.name, "type": c.type} for c in model.columns],
        "tensors": [list(tensor.columns) for tensor in model.tensors],
        "inputs": [tensor.name for tensor in model.inputs],
        "outputs": [output.name for output in model.outputs],
        "prediction": model.prediction if model.columns else None,
        "batchable": model.batchable,
    }
