"""PyTorch: a program of `torch.export` (.pt2) or a TorchScript archive, on one thread.

Neither runs Python of the model's maker: a program is a graph, TorchScript is interpreted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

# A .pt2 archive may hold pickles; with this, torch loads tensors and nothing else.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from volant.serving.datatypes import Array, from_bf16
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in `description.file`. Values of a shape that an exported program was not
    exported for are refused (400)."""
    del runtime
    body = io.BytesIO(files.read(description.file))
    torch.set_num_threads(1)
    if description.file.endswith(".pt2"):
        module: Any = torch.export.load(body).module()
    else:
        module = torch.jit.load(body, map_location="cpu").eval()
    half = [i.datatype == "BF16" for i in description.inputs]

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        tensors = [_tensor(feed, short) for feed, short in zip(feeds, half, strict=True)]
        try:
            with torch.inference_mode():
                return named_tensors(module(*tensors))
        except (RuntimeError, AssertionError, ValueError) as error:
            said = str(error).strip().splitlines()
            reason = said[-1] if said else type(error).__name__
            raise Refusal(400, f"The model can't take these values: {reason}") from None

    return NamedModel(description, call)


def _tensor(feed: Array, bfloat: bool) -> Any:
    tensor = torch.from_numpy(np.require(feed, requirements=["C", "W"]))
    return tensor.to(torch.bfloat16) if bfloat else tensor


def named_tensors(result: Any) -> dict[str, Array]:
    """Tensors by name: a mapping's keys, else `output_0`, `output_1`…; nested ones flat."""
    if isinstance(result, torch.Tensor):
        return {"output_0": _numpy(result)}
    if isinstance(result, Mapping):
        return {str(name): _numpy(value) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return {f"output_{i}": _numpy(value) for i, value in enumerate(result)}
    raise TypeError(f"the model answers a {type(result).__name__}, not tensors")


def _numpy(tensor: Any) -> Array:
    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:
        return from_bf16(plain.view(torch.int16).numpy().view(np.uint16))
    return plain.numpy()
