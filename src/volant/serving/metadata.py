"""What a model says of itself: in the protocol's words, in Triton's, and in V1's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from volant.serving.description import OIP_TYPE, Description

if TYPE_CHECKING:
    from volant.serving.batching import Totals


def metadata(name: str, versions: Sequence[str], model: Description) -> dict[str, Any]:
    """The model metadata answer: real columns or tensors, types and shapes (-1 is any
    size); nullability and classes in `parameters`."""
    outputs: list[dict[str, Any]] = []
    for output in model.outputs:
        one: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if output.parameters:
            one["parameters"] = dict(output.parameters)
        outputs.append(one)
    return {
        "name": name,
        "versions": list(versions),
        "platform": model.platform,
        "inputs": inputs(model),
        "outputs": outputs,
    }


def inputs(model: Description) -> list[dict[str, Any]]:
    """The tensors that a request holds: one a column, or the model's own."""
    columns: list[dict[str, Any]] = [
        {
            "name": c.name,
            "datatype": OIP_TYPE[c.type],
            "shape": [-1],
            "parameters": {"type": c.type, "nullable": c.nullable},
        }
        for c in model.columns
    ]
    return columns + [
        {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in model.inputs
    ]


def config(name: str, model: Description) -> dict[str, Any]:
    """Triton's model configuration. `max_batch_size` is 0 there when shapes are whole,
    the rows among them, as they are here."""
    return {
        "name": name,
        "platform": model.platform,
        "backend": model.kind,
        "max_batch_size": 0,
        "input": [
            {"name": t["name"], "data_type": _triton(t["datatype"]), "dims": t["shape"]}
            for t in inputs(model)
        ],
        "output": [
            {"name": o.name, "data_type": _triton(o.datatype), "dims": list(o.shape)}
            for o in model.outputs
        ],
    }


def _triton(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def index(
    names: Sequence[str], versions: Sequence[str], state: str, reason: str
) -> list[dict[str, Any]]:
    """The repository index: each version that serves, under each name. They are loaded
    and unloaded together."""
    return [
        {"name": name, "version": version, "state": state, "reason": reason}
        for name in names
        for version in versions
    ]


def v1_status(name: str, versions: Sequence[str], state: str) -> dict[str, Any]:
    """`GET /v1/models/NAME`: KServe's `ready` and TensorFlow Serving's version status."""
    return {
        "name": name,
        "ready": state == "AVAILABLE",
        "model_version_status": [
            {
                "version": version,
                "state": state,
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version in versions
        ],
    }


def statistics(name: str, version: str, totals: Totals, failed: int) -> dict[str, Any]:
    """Triton's statistics of one model, as this replica counted them since its start; it
    measures the model's time alone."""
    spent = {"count": totals.requests, "ns": int(totals.seconds * 1e9)}
    nothing = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": version,
        "last_inference": int(totals.last * 1000),
        "inference_count": totals.rows,
        "execution_count": totals.batches,
        "inference_stats": {
            "success": {**spent, "count": totals.requests - failed},
            "fail": {"count": failed, "ns": 0},
            "queue": nothing,
            "compute_input": nothing,
            "compute_infer": spent,
            "compute_output": nothing,
        },
        "batch_stats": list[Any](),
    }
