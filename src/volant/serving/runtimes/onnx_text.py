"""Text classifiers as ONNX, the tokenizer beside the graph: neither torch nor transformers.

`tokenizer.json` is the Hugging Face tokenizers library's own file; it says how texts are cut
off and filled up. The graph takes what the tokenizer makes and answers probabilities, in the
order of the signature's classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not survive a fork

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.classes import by_probability
from volant.serving.runtimes.named import NamedModel

_BATCH = 32  # texts that go through the model together
_PARTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """`model.onnx` and `tokenizer.json` of the folder `description.file`; one thread."""
    del runtime
    tokenizer: Any = Tokenizer.from_str(
        files.read(f"{description.file}/tokenizer.json").decode("utf-8")
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        files.read(f"{description.file}/model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    wanted = [(tensor.name, _PARTS[tensor.name]) for tensor in session.get_inputs()]

    def answer(texts: list[str]) -> Array:
        encoded = tokenizer.encode_batch(texts)
        feed = {
            name: np.array([getattr(one, part) for one in encoded], dtype=np.int64)
            for name, part in wanted
        }
        return np.asarray(session.run(None, feed)[0])

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        rows = ["" if text is None else _text(text) for text in feeds[0].reshape(-1).tolist()]
        parts = [answer(rows[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)]
        if not parts:
            parts = [np.zeros((0, len(description.classes or ())))]
        return by_probability(np.concatenate(parts), description)

    return NamedModel(description, call)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        raise Refusal(400, "Expected texts in UTF-8, got other bytes.")
    return str(value)
