"""LightGBM's own text model, on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.runtimes.classes import by_probability
from volant.serving.runtimes.named import NamedModel


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in `description.file`, a text that LightGBM wrote."""
    del runtime
    booster = lgb.Booster(model_str=files.read(description.file).decode("utf-8"))

    def call(feeds: Sequence[Array]) -> dict[str, Array]:
        raw = np.asarray(booster.predict(np.concatenate(feeds, axis=1), num_threads=1))
        return by_probability(raw, description)

    return NamedModel(description, call)
