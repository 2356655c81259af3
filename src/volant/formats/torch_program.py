"""What a program of `torch.export` says of its inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# A .pt2 archive may hold pickles; with this, torch loads tensors and nothing else.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

import torch  # pyright: ignore[reportMissingImports]

from volant.domain.model import TensorSpec
from volant.errors import InvalidInput

_WORDS = {
    torch.bool: "BOOL", torch.uint8: "UINT8", torch.int8: "INT8", torch.int16: "INT16",
    torch.int32: "INT32", torch.int64: "INT64", torch.float16: "FP16", torch.float32: "FP32",
    torch.float64: "FP64", torch.bfloat16: "BF16",
}  # fmt: skip


def inputs_of(path: Path) -> tuple[TensorSpec, ...]:
    """The user's inputs in order; a size that was exported as dynamic is -1.

    Raises `InvalidInput` for a program that takes something else than tensors.
    """
    program: Any = torch.export.load(path)
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    found: list[TensorSpec] = []
    for name in program.graph_signature.user_inputs:
        value: Any = values.get(name)
        if not isinstance(value, torch.Tensor) or value.dtype not in _WORDS:
            raise InvalidInput(
                f"The program's input {name!r} is no tensor that the protocol has.",
                "Export the model with tensors as its only inputs.",
                code="model.signature",
            )
        shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
        found.append(TensorSpec(str(name), _WORDS[value.dtype], shape))
    return tuple(found)
