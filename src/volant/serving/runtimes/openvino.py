"""OpenVINO's own form of a model, on one thread: the graph in NAME.xml, its weights in
NAME.bin. Reading it runs nothing of its maker's.

https://docs.openvino.ai/2025/documentation/openvino-ir-format.html
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from volant.errors import InvalidInput
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel

# As it is imported it would tell its maker so over the network, from a thread.
cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)

import openvino as ov  # noqa: E402 # pyright: ignore[reportMissingImports]

# Pinned threads of several replicas would all lie on the first core. The processor's own
# choice of precision may be bfloat16: answers would then be others than the proven ones.
_SETTINGS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    "INFERENCE_PRECISION_HINT": "f32",
}
_WORDS = {
    "boolean": "BOOL", "f16": "FP16", "f32": "FP32", "f64": "FP64",
    **{f"{letter}{bits}": f"{word}{bits}"
       for letter, word in (("i", "INT"), ("u", "UINT")) for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """What a model takes, as (name, datatype in the protocol's words, shape) in its order,
    and what asks it with arrays in that order."""

    inputs: Sequence[tuple[str, str, tuple[int, ...]]]
    ask: Callable[[Sequence[Array]], dict[str, Array]]


def open_model(
    files: ModelFiles, description: Description, _runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in `description.file`, the graph's. Values that it can't take are refused
    (400)."""
    files.prove(str(PurePosixPath(description.file).with_suffix(".bin")))
    opened = open_path(files.prove(description.file))
    places = {one.name: i for i, one in enumerate(description.inputs)}
    order = [places.get(name, i) for i, (name, _, _) in enumerate(opened.inputs)]

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        try:
            return opened.ask([feeds[i] for i in order])
        except (RuntimeError, ValueError, TypeError) as error:
            said = str(error).strip().splitlines()
            reason = said[-1].strip()[:300] if said else type(error).__name__
            raise Refusal(400, f"The model can't take these values: {reason}") from None

    return NamedModel(description, call)


def open_path(path: Path) -> Opened:
    """Open NAME.xml with the NAME.bin beside it.

    Raises `InvalidInput` for inputs or outputs that the protocol has no word for, and what
    OpenVINO raises on files that it can't read.
    """
    core: Any = ov.Core()
    model: Any = core.read_model(str(path))
    inputs = [_spec(port, f"input_{i}") for i, port in enumerate(model.inputs)]
    outputs = [_spec(port, f"output_{i}")[0] for i, port in enumerate(model.outputs)]
    request: Any = core.compile_model(model, "CPU", _SETTINGS).create_infer_request()

    def ask(feeds: Sequence[Array]) -> dict[str, Array]:
        # Its answers are copies: the next question would overwrite its own.
        found = request.infer(list(feeds), share_inputs=True, share_outputs=False)
        return {name: found[i] for i, name in enumerate(outputs)}

    return Opened(inputs, ask)


def _spec(port: Any, unnamed: str) -> tuple[str, str, tuple[int, ...]]:
    name = min(port.get_names(), default=unnamed)
    kind, sizes = str(port.get_element_type().get_type_name()), port.get_partial_shape()
    if kind not in _WORDS or sizes.rank.is_dynamic:
        raise InvalidInput(
            f"{name!r} is {kind} of shape {sizes}.",
            "Convert a model of numbers or booleans, of a known number of dimensions.",
            code="model.signature",
        )
    shape = tuple(-1 if size.is_dynamic else int(size.get_length()) for size in sizes)
    return name, _WORDS[kind], shape
