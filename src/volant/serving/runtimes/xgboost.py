"""XGBoost's own model file (JSON or UBJSON), on one thread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xgboost as xgb  # pyright: ignore[reportMissingImports]

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.runtimes.classes import by_probability
from volant.serving.runtimes.named import NamedModel


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in `description.file`."""
    del runtime
    booster = xgb.Booster()
    booster.load_model(bytearray(files.read(description.file)))
    booster.set_param({"nthread": 1})
    linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear"

    def call(feeds: Sequence[Array]) -> dict[str, Array]:
        rows = np.concatenate(feeds, axis=1).astype(np.float32)
        if linear:  # which XGBoost can't ask in place
            raw = booster.predict(xgb.DMatrix(rows, nthread=1), validate_features=False)
        else:
            raw = booster.inplace_predict(rows, validate_features=False)
        return by_probability(np.asarray(raw), description)

    return NamedModel(description, call)
