"""What a model answers, found by asking it: for models that nobody declared the outputs of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from volant.errors import InvalidInput
from volant.serving.datatypes import Array
from volant.serving.description import read_description
from volant.serving.inference import DESCRIPTION_FILE, example_feeds, open_model
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel, datatype_of


def discover(
    folder: Path, files: Mapping[str, str], requests: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """{name, datatype, shape} of each output, in the model's order. `requests` are the
    same example with one row and with two, in the protocol's words: a size that differs
    between the two answers, or that counts the rows, is -1.

    Raises `InvalidInput` when the model refuses the example, or can't take two rows
    although its inputs say so.
    """
    proven = ModelFiles(folder, files)
    body = orjson.loads(proven.read(DESCRIPTION_FILE))
    model: Any = open_model(proven, read_description(body), body["runtime"])
    batched = model.description.batchable
    answers = [_asked(model, request) for request in (requests if batched else requests[:1])]
    first, last = answers[0], answers[-1]
    if not first or set(first) != set(last):
        raise InvalidInput(
            f"The model answers {', '.join(first) or 'nothing'} to one row and "
            f"{', '.join(last) or 'nothing'} to two.",
            "Let it answer the same outputs for any number of rows.",
            code="model.outputs",
        )
    return [
        {
            "name": name,
            "datatype": datatype_of(first[name]),
            "shape": _shape(name, first[name], last[name], batched),
        }
        for name in first
    ]


def _asked(model: Any, request: Mapping[str, Any]) -> Mapping[str, Array]:
    try:
        feeds = example_feeds(request, model.description)
        if isinstance(model, NamedModel):
            return model.call(feeds)
        answer = model.predict(feeds)
        names = [output.name for output in model.description.outputs]
        return dict(zip(names, answer.outputs, strict=True))
    except Refusal as refusal:
        raise InvalidInput(
            f"The model refuses its example: {refusal}",
            "Register it with --example, a file with inputs that it takes; its shapes count.",
            code="model.example_refused",
        ) from refusal


def _shape(name: str, one: Array, two: Array, batched: bool) -> list[int]:
    if not batched:
        return list(one.shape)
    if one.shape[:1] != (1,) or two.shape[:1] != (2,) or one.ndim != two.ndim:
        raise InvalidInput(
            f"The output {name!r} has the shape {list(one.shape)} for one row and "
            f"{list(two.shape)} for two; its first size must count the rows.",
            "Let the model answer one entry a row.",
            code="model.outputs",
        )
    return [-1 if a != b else a for a, b in zip(one.shape, two.shape, strict=True)]
