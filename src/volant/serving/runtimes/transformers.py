"""Hugging Face pipelines over texts: weights and tokenizer from the model's own folder,
nothing from the network, no code of the model's maker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not survive a fork

import numpy as np
import orjson
import torch  # pyright: ignore[reportMissingImports]
from transformers import pipeline  # pyright: ignore[reportMissingImports]

from volant.serving.datatypes import Array, texts
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.classes import by_probability
from volant.serving.runtimes.named import NamedModel

_BATCH = 32  # texts that go through the model together

_Form = Callable[[list[Any]], dict[str, Array]]


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The pipeline of the task `runtime["pipeline"]` over the folder `description.file`."""
    folder = files.prove(description.file)
    task = str(runtime["pipeline"])
    torch.set_num_threads(1)
    model = str(folder / str(runtime.get("model") or "."))
    tokenizer = str(folder / str(runtime.get("tokenizer") or "."))
    asked: Any = pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
    if description.columns:
        return NamedModel(description, _over_columns(asked, description, runtime))
    form = _FORMS.get(task, _as_json)
    names = [tensor.name for tensor in description.inputs]

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        rows = [list(map(_text, feed.reshape(-1).tolist())) for feed in feeds]
        if len(names) == 1:
            found = asked(rows[0])
        else:
            found = [asked(**dict(zip(names, row, strict=True))) for row in zip(*rows, strict=True)]
        return form(list(found))

    return NamedModel(description, call)


def _over_columns(
    asked: Any, description: Description, runtime: Mapping[str, Any]
) -> Callable[[Sequence[Array]], Mapping[str, Array]]:
    """A text classifier that a loop fine-tuned: one column of texts, a missing one empty;
    the classes' probabilities in the order of the signature's classes."""
    place = {str(name): i for i, name in enumerate(description.classes or ())}
    length = int(runtime.get("max_length") or 512)

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        rows = ["" if text is None else _text(text) for text in feeds[0].reshape(-1).tolist()]
        found = asked(
            rows,
            top_k=None,
            function_to_apply="softmax",
            truncation=True,
            max_length=length,
            batch_size=_BATCH,
        )
        probabilities = np.zeros((len(rows), len(place)))
        for row, scored in enumerate(found):
            for one in scored:
                probabilities[row, place[one["label"]]] = one["score"]
        return by_probability(probabilities, description)

    return call


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        raise Refusal(400, "Expected texts in UTF-8, got other bytes.")
    return str(value)


def _labelled(found: list[Any]) -> dict[str, Array]:
    return {
        "label": texts([str(one["label"]) for one in found]),
        "score": np.array([one["score"] for one in found], dtype=np.float32),
    }


def _answered(found: list[Any]) -> dict[str, Array]:
    first = [one[0] if isinstance(one, list) else one for one in found]
    return {
        "answer": texts([str(one["answer"]) for one in first]),
        "score": np.array([one["score"] for one in first], dtype=np.float32),
    }


def _generated(found: list[Any]) -> dict[str, Array]:
    first = [one[0] if isinstance(one, list) else one for one in found]
    keys = ("generated_text", "summary_text", "translation_text")
    return {"text": texts([str(next(one[k] for k in keys if k in one)) for one in first])}


def _as_json(found: list[Any]) -> dict[str, Array]:
    """One JSON text a row, for answers that are lists of objects."""
    return {"output": texts([orjson.dumps(one, default=_plain).decode() for one in found])}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


_FORMS: dict[str, _Form] = {
    "text-classification": _labelled,
    "question-answering": _answered,
    "text-generation": _generated,
    "text2text-generation": _generated,
    "summarization": _generated,
    "translation": _generated,
}
