"""ONNX Runtime on one thread: replicas are the way to more cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.query import Answer
from volant.serving.refusal import Refusal
from volant.serving.runtimes.labels import cast_labels, label_kind


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

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises whatever ONNX Runtime raises; `Refusal` for values it can't take."""
        try:
            out = self._session.run(self._outputs, dict(zip(self._inputs, feeds, strict=True)))
        except InvalidArgument as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None
        if self._plain:
            return Answer(tuple(np.asarray(array) for array in out))
        labels = np.asarray(out[0]).reshape(-1)
        if self._kind is not str or labels.dtype != object:  # else they are texts already
            labels = cast_labels(labels, self._kind)
        if len(out) == 1:
            return Answer((labels,))
        # Sums of float32 votes may leave [0, 1] by a millionth.
        return Answer((labels, np.clip(np.asarray(out[1]), 0.0, 1.0)))
