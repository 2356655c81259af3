"""Load a model, prove its files, predict.

A native model is a pickle: it is loaded only if its bytes have the SHA-256 that the
registry stored, and only those very bytes are loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import orjson
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from volant.errors import Conflict, InvalidInput, NotFound, VolantError
from volant.serving.description import Description, Tensor, read_description
from volant.serving.oip import OIP_TYPE, Answer, Array, parse
from volant.serving.refusal import Refusal

DESCRIPTION_FILE = "volant.json"
EXAMPLE_FILE = "input_example.json"


class Model(Protocol):
    """A loaded model. `predict` takes arrays [n, columns] aligned to
    `description.tensors`."""

    description: Description

    def predict(self, feeds: Sequence[Array]) -> Answer: ...


def load(folder: Path, files: Mapping[str, str]) -> Model:
    """The model in `folder`, its files checked against `files` (SHA-256 by relative
    path), warmed with one prediction.

    Raises `NotFound` for a missing file, `Conflict` for an altered or unregistered one,
    `InvalidInput` when the model can't be loaded or doesn't answer.
    """
    description = read_description(_parsed(_proven(folder, DESCRIPTION_FILE, files)))
    body = _proven(folder, description.file, files)
    try:
        model: Model = (
            _native(folder, body, description, files)
            if description.kind == "native"
            else OnnxModel(body, description)
        )
        _rehearse(model, folder, files)
    except VolantError:
        raise
    except Exception as error:
        raise InvalidInput(
            f"The model in {description.file} can't be used: {type(error).__name__}: {error}",
            "Train it again with the libraries that are installed here.",
            code="model_load",
            details={"file": description.file},
        ) from error
    return model


def _rehearse(model: Model, folder: Path, files: Mapping[str, str]) -> None:
    """Predict once before any client does: the registered example, which must succeed,
    or else zeros, whose values a model may refuse."""
    description = model.description
    if EXAMPLE_FILE in files:
        example = _parsed(_proven(folder, EXAMPLE_FILE, files))
        answer = model.predict(parse(_as_request(example, description), description).feeds)
        if len(answer.labels) != 1:
            raise ValueError(f"one row got {len(answer.labels)} predictions")
        return
    with contextlib.suppress(Refusal):
        model.predict(sample(description))


def _as_request(example: Mapping[str, Any], description: Description) -> bytes:
    """The first row of MLflow's input example as a request."""
    row = dict(zip(example["columns"], example["data"][0], strict=True))
    tensors = [
        {"name": c.name, "shape": [1], "datatype": OIP_TYPE[c.type], "data": [row[c.name]]}
        for c in description.columns
    ]
    return orjson.dumps({"inputs": tensors})


def sample(description: Description) -> tuple[Array, ...]:
    """One row of zeros and missing texts, aligned to the tensors."""
    return tuple(_zeros(tensor) for tensor in description.tensors)


def _zeros(tensor: Tensor) -> Array:
    shape = (1, len(tensor.columns))
    if tensor.dtype in ("string", "text"):
        return np.full(shape, "" if tensor.dtype == "string" else None, dtype=object)
    return np.zeros(shape, dtype=tensor.dtype)


def _proven(folder: Path, name: str, files: Mapping[str, str]) -> bytes:
    expected = files.get(name)
    if expected is None:
        raise Conflict(
            f"{name} isn't among the registered files of this model version.",
            "Register the model again.",
            code="model_files",
        )
    try:
        body = (folder / name).read_bytes()
    except OSError as error:
        raise NotFound(
            f"{name} of the model can't be read: {error.strerror}.",
            "Restore the artifact store, or deploy another version.",
            code="model_files",
        ) from error
    found = hashlib.sha256(body).hexdigest()
    if found != expected:
        raise Conflict(
            f"{name} was altered: its SHA-256 is {found}, registered was {expected}.",
            "Restore the file from a backup, or deploy another version.",
            code="model_files",
        )
    return body


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"A file of the model isn't JSON: {error}.", "Register the model again."
        ) from error


class OnnxModel:
    """ONNX Runtime on one thread: replicas are the way to more cores."""

    def __init__(self, body: bytes, description: Description) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])
        self.description = description
        self._inputs = [tensor.name for tensor in description.tensors]
        self._outputs = [description.label]
        if description.probabilities is not None:
            self._outputs.append(description.probabilities)
        self._kind = _label_kind(description)

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises whatever ONNX Runtime raises; `Refusal` for values it can't take."""
        try:
            out = self._session.run(self._outputs, dict(zip(self._inputs, feeds, strict=True)))
        except InvalidArgument as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None
        labels = np.asarray(out[0]).reshape(-1)
        if self._kind is not str or labels.dtype != object:  # else they are texts already
            labels = _cast(labels, self._kind)
        if len(out) == 1:
            return Answer(labels)
        # Sums of float32 votes may leave [0, 1] by a millionth.
        return Answer(labels, np.clip(np.asarray(out[1]), 0.0, 1.0))


class NativeModel:
    """A fitted scikit-learn pipeline; only for models that ONNX can't hold."""

    def __init__(self, pipeline: Any, description: Description) -> None:
        self.description = description
        self._kind = _label_kind(description)
        self._names = [column.name for column in description.columns]
        steps = getattr(pipeline, "steps", None)
        first = steps[0][1] if steps else None
        # Volant's own first step takes columns by name and brings them into the form
        # that the rest was fitted on; anything else gets a plain matrix.
        self._by_name = all(hasattr(first, name) for name in ("names", "types", "form"))
        self._prepare = pipeline[:-1].transform if steps and len(steps) > 1 else None
        self._estimator = steps[-1][1] if steps and self._prepare else pipeline

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises `Refusal` (400) when the model refuses the values (`ValueError`)."""
        try:
            table = self._table(feeds)
            if self._prepare is not None:
                table = self._prepare(table)
            labels = np.asarray(self._estimator.predict(table)).reshape(-1)
            probabilities = (
                np.asarray(self._estimator.predict_proba(table))
                if self.description.probabilities is not None
                else None
            )
        except ValueError as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None
        return Answer(_cast(labels, self._kind), probabilities)

    def _table(self, feeds: Sequence[Array]) -> Any:
        if self._by_name:
            return {name: f[:, 0] for name, f in zip(self._names, feeds, strict=True)}
        if all(feed.dtype != object for feed in feeds):
            return np.concatenate(feeds, axis=1)
        return np.concatenate([feed.astype(object) for feed in feeds], axis=1)


def _native(
    folder: Path, body: bytes, description: Description, files: Mapping[str, str]
) -> NativeModel:
    """`body` was proven by the caller; the user's modules beside it are proven here."""
    code = folder / "code"
    if code.is_dir():
        for file in sorted(code.rglob("*.py")):
            _proven(folder, file.relative_to(folder).as_posix(), files)
        sys.path.insert(0, str(code))
    return NativeModel(pickle.loads(body), description)  # noqa: S301  proven by SHA-256


def _label_kind(description: Description) -> type | None:
    """The Python type of the prediction; None for numbers as they are."""
    kinds: dict[str, type] = {"boolean": bool, "integer": int, "string": str}
    return kinds.get(description.prediction)


def _cast(labels: Array, kind: type | None) -> Array:
    if kind is None:
        return labels
    if kind is bool:
        if labels.dtype == object or labels.dtype.kind in "US":
            return np.array([str(v).lower() in ("true", "1") for v in labels.tolist()])
        return labels.astype(np.bool_)
    if kind is int:
        return labels.astype(np.int64, copy=False)
    return np.array([str(v) for v in labels.tolist()], dtype=object)
