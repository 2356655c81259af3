"""Load a model, prove its files, predict.

`load` is the only door to a loaded model; what predicts lies in `runtimes`, one module
for each kind. A pickle is loaded only if its bytes have the SHA-256 that the registry
stored, and the registry takes none that this platform didn't make, unless an admin vouched
for it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from volant.errors import EXTRAS, InvalidInput, MissingExtra, VolantError
from volant.serving.datatypes import DTYPE, Array
from volant.serving.description import OIP_TYPE, Description, Tensor, read_description
from volant.serving.model_files import ModelFiles
from volant.serving.oip import parse
from volant.serving.query import Answer
from volant.serving.refusal import Refusal

DESCRIPTION_FILE = "volant.json"
EXAMPLE_FILE = "input_example.json"

# kind → the module of `volant.serving.runtimes` that has its `open_model`
_RUNTIMES = {
    "onnx": "onnx",
    "onnx-text": "onnx_text",
    "native": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "mlflow": "mlflow",
    "torch": "torch",
    "transformers": "transformers",
    "tensorflow": "tensorflow",
    "openvino": "openvino",
    "code": "code",
}


class Model(Protocol):
    """A loaded model. `predict` takes arrays [n, columns] aligned to
    `description.tensors`, or N-D arrays aligned to `description.inputs`; its answer is
    aligned to `description.outputs`."""

    description: Description

    def predict(self, feeds: Sequence[Array]) -> Answer: ...


def load(folder: Path, files: Mapping[str, str]) -> Model:
    """The model in `folder`, its files checked against `files` (SHA-256 by relative
    path), warmed with one prediction.

    Raises `NotFound` for a missing file, `Conflict` for an altered or unregistered one,
    `MissingExtra` when its library isn't here, `InvalidInput` when another module isn't, or
    the model can't be loaded or doesn't answer.
    """
    proven = ModelFiles(folder, files)
    body = _parsed(proven.read(DESCRIPTION_FILE))
    description = read_description(body)
    try:
        model = open_model(proven, description, body.get("runtime") or {})
        _rehearse(model, proven)
    except VolantError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(error, description.file) from error
    except Exception as error:
        own = (body.get("runtime") or {}).get("kind") == "code"
        what = f"{type(error).__name__}: {error}".rstrip(".")
        raise InvalidInput(
            f"The model in {description.file} can't be used: {what}.",
            "Correct its code and register it again."
            if own
            else "Train it again with the libraries that are installed here.",
            code="model_load",
            details={"file": description.file},
        ) from error
    return model


def open_model(files: ModelFiles, description: Description, runtime: Mapping[str, Any]) -> Model:
    """The model as its kind's runtime opens it, without a first prediction. `runtime` is
    that part of `volant.json`. Raises what the runtime's library raises."""
    name = _RUNTIMES.get(description.kind)
    if name is None:
        raise InvalidInput(
            f"This Volant has no runtime {description.kind!r}.",
            f"Update Volant; this one knows {', '.join(_RUNTIMES)}.",
        )
    # Byte code beside a model's own modules would be files that nobody registered.
    sys.dont_write_bytecode = True
    module = importlib.import_module(f"volant.serving.runtimes.{name}")
    return module.open_model(files, description, runtime)


def _missing(error: ModuleNotFoundError, file: str) -> VolantError:
    """A library that this interpreter lacks, be it wanted when the model is opened or when
    it first predicts."""
    module = (error.name or "").partition(".")[0]
    if module in EXTRAS:
        return MissingExtra(module, EXTRAS[module])
    return InvalidInput(
        f"The model in {file} needs {module}, which isn't installed here.",
        f"Put {module} into a requirements.txt beside the model and register it again: it then"
        " gets an environment of its own.",
        code="model.module_missing",
        details={"file": file, "module": module},
    )


def _rehearse(model: Model, files: ModelFiles) -> None:
    """Predict once before any client does: the registered example, which must succeed,
    or else zeros, whose values a model may refuse."""
    description = model.description
    if EXAMPLE_FILE in files.files:
        example = _parsed(files.read(EXAMPLE_FILE))
        answer = model.predict(example_feeds(example, description))
        if description.columns and len(answer.outputs[0]) != 1:
            raise ValueError(f"one row got {len(answer.outputs[0])} predictions")
        return
    with contextlib.suppress(Refusal):
        model.predict(sample(description))


def example_feeds(example: Mapping[str, Any], description: Description) -> tuple[Array, ...]:
    """An example as arrays: a request of the protocol as it is, or the first row of
    MLflow's input example."""
    request = orjson.dumps(example) if "inputs" in example else _as_request(example, description)
    return parse(request, description).feeds


def _as_request(example: Mapping[str, Any], description: Description) -> bytes:
    """The first row of MLflow's input example as a request."""
    row = dict(zip(example["columns"], example["data"][0], strict=True))
    tensors = [
        {"name": c.name, "shape": [1], "datatype": OIP_TYPE[c.type], "data": [row[c.name]]}
        for c in description.columns
    ]
    return orjson.dumps({"inputs": tensors})


def sample(description: Description) -> tuple[Array, ...]:
    """One row of zeros and missing texts, aligned to the tensors or inputs."""
    if description.inputs:
        return tuple(
            np.full(
                [1 if size < 0 else size for size in tensor.shape],
                "" if tensor.datatype == "BYTES" else 0,
                dtype=DTYPE[tensor.datatype],
            )
            for tensor in description.inputs
        )
    return tuple(_zeros(tensor) for tensor in description.tensors)


def _zeros(tensor: Tensor) -> Array:
    shape = (1, len(tensor.columns))
    if tensor.dtype in ("string", "text"):
        return np.full(shape, "" if tensor.dtype == "string" else None, dtype=object)
    return np.zeros(shape, dtype=tensor.dtype)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"A file of the model isn't JSON: {error}.", "Register the model again."
        ) from error
