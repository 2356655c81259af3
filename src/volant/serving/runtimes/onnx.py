"""ONNX Runtime on one thread: replicas are the way to more cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy._core import umath
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.query import Answer
from volant.serving.refusal import Refusal, shown
from volant.serving.runtimes.labels import cast_labels, label_kind
from volant.serving.runtimes.named import other_rows

_clip: Callable[..., Array] = getattr(umath, "clip", np.clip)
# 0-d arrays, so that nothing is converted in a call.
_BOUNDS = {kind: (np.zeros((), kind), np.ones((), kind)) for kind in "fd"}


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> OnnxModel:
    """From the proven bytes; from the proven files where weights lie beside the graph."""
    beside = [n for n in runtime.get("data") or () if n in files.files]
    if beside:
        for name in beside:
            files.prove(name)
        files.read(description.file)
        return OnnxModel(str(files.folder / description.file), description)
    return OnnxModel(files.read(description.file), description)


class OnnxModel:
    def __init__(self, body: bytes | str, description: Description) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])
        self._run = _runner(self._session)
        self.description = description
        named = description.inputs or description.tensors
        self._inputs = [tensor.name for tensor in named]
        # Answers over tensors, or over columns with outputs of their own, go out as they are.
        self._plain = bool(description.inputs) or not description.label
        if self._plain:
            self._outputs = [output.name for output in description.outputs]
        else:
            self._outputs = [description.label]
            if description.probabilities is not None:
                self._outputs.append(description.probabilities)
        self._kind = label_kind(description)
        # ONNX Runtime makes a text of whatever it is given, bytes too.
        self._texts = [i for i, t in enumerate(description.inputs) if t.datatype == "BYTES"]

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises whatever ONNX Runtime raises; `Refusal` for values it can't take;
        `InvalidInput` where a model over columns doesn't answer one label a row."""
        for i in self._texts:
            _check_texts(self._inputs[i], feeds[i])
        try:
            out = self._run(self._outputs, dict(zip(self._inputs, feeds, strict=True)), None)
        except InvalidArgument as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None
        if self._plain:
            return Answer(tuple(np.asarray(array) for array in out))
        rows = len(feeds[0])
        labels = np.asarray(out[0]).reshape(-1)
        if len(labels) != rows:
            raise other_rows(self._outputs[0], len(labels), rows)
        if self._kind is not str or labels.dtype != object:  # else they are texts already
            labels = cast_labels(labels, self._kind)
        if len(out) == 1:
            return Answer((labels,))
        # Sums of float32 votes may leave [0, 1] by a millionth.
        return Answer((labels, _within_one(np.asarray(out[1]))))


def _check_texts(name: str, feed: Array) -> None:
    if bytes in set(map(type, feed.reshape(-1).tolist())):
        raise Refusal(400, f"Tensor {shown(name)}: expected texts in UTF-8, got other bytes.")


def _within_one(shares: Array) -> Array:
    """At least 0 and at most 1, in place: ONNX Runtime keeps no hand on its answers. The
    ufunc itself, which `np.clip` takes six times as long to reach."""
    bounds = _BOUNDS.get(shares.dtype.char)
    if bounds is None or not shares.flags.writeable:
        return np.clip(shares, 0.0, 1.0)
    return _clip(shares, *bounds, out=shares)


def _runner(session: ort.InferenceSession) -> Callable[..., Sequence[Any]]:
    """Its `run` without the checks of each call, which hold for a description's names
    once and for all; they take a microsecond. With them where it has no such part."""
    inner = getattr(session, "_sess", None)
    return session.run if inner is None else inner.run
