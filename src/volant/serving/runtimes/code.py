"""A user's own class: `model.py` with a class `Model`.

class Model:
    def load(self, folder): ...          # once; a pathlib.Path
    def preprocess(self, inputs): ...    # optional
    def predict(self, inputs): ...       # arrays by name
    def postprocess(self, outputs): ...  # optional
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from volant.errors import InvalidInput
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel, as_named


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """An instance of the class, its `load` called with the proven folder.

    Raises `InvalidInput` without a class `Model` that predicts, and what its code raises.
    """
    del runtime
    folder = files.prove(description.file)
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    if spec is None or spec.loader is None:
        raise InvalidInput("model.py can't be imported.", "Register the model again.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    kind = getattr(module, "Model", None)
    if not isinstance(kind, type) or not callable(getattr(kind, "predict", None)):
        raise InvalidInput(
            "model.py has no class Model with a method predict.",
            "Define `class Model` with `load(self, folder)` and `predict(self, inputs)`.",
            code="model_code",
        )
    model: Any = kind()
    if callable(getattr(model, "load", None)):
        model.load(folder)
    before = getattr(model, "preprocess", None)
    after = getattr(model, "postprocess", None)
    names = [i.name for i in description.inputs] or [c.name for c in description.columns]
    flat = not description.inputs  # columns arrive as [n, 1]

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        inputs: Any = {
            name: feed[:, 0] if flat else feed for name, feed in zip(names, feeds, strict=True)
        }
        try:
            if before is not None:
                inputs = before(inputs)
            outputs = model.predict(inputs)
            return as_named(outputs if after is None else after(outputs))
        except ValueError as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None

    return NamedModel(description, call)
