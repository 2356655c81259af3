"""MLflow's python_function: whatever flavour, loaded and asked by MLflow itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.pyfunc  # pyright: ignore[reportMissingImports]
from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel, as_named


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in the folder `description.file`, every file of it proven first."""
    del runtime
    model = mlflow.pyfunc.load_model(str(files.prove(description.file)))

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        try:
            return as_named(model.predict(_data(description, feeds)))
        except (ValueError, MlflowException) as error:
            raise Refusal(400, f"The model can't take these values: {error}") from None

    return NamedModel(description, call)


def _data(description: Description, feeds: Sequence[Array]) -> Any:
    if description.columns:
        from volant.serving.runtimes.frame import to_frame

        return to_frame(description.columns, feeds)
    names = [tensor.name for tensor in description.inputs]
    # MLflow's unnamed tensor is one array; named ones come as a dict.
    return feeds[0] if names == ["input"] else dict(zip(names, feeds, strict=True))
