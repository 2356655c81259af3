"""Load a model folder and measure it on rows whose truth is known."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from volant.errors import InvalidInput, VolantError
from volant.evaluation.metrics import Judged, judge
from volant.evaluation.served import Open, open_served

_ARROW_TYPES: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A fitted pipeline with what its `volant.json` says of it."""

    task: str
    inputs: Sequence[Mapping[str, Any]]
    classes: Sequence[Any] | None
    pipeline: Any

    def judge(self, rows: pa.Table, target: str) -> Judged:
        """Predict every row and set it beside its truth.

        A column that the model wants and the rows lack is all missing: it came
        after the holdout was frozen. Raises whatever the model's own code raises.
        """
        features = self._features(rows)
        truth = rows.column(target).to_pylist()
        predicted = np.asarray(self.pipeline.predict(features)).ravel()
        if self.task == "regression":
            return judge(self.task, truth, predicted)
        return judge(self.task, truth, predicted, self._probabilities(features), self.classes)

    def missing_columns(self, rows: pa.Table) -> list[str]:
        return [c["name"] for c in self.inputs if c["name"] not in rows.column_names]

    def _features(self, rows: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {}
        for column in self.inputs:
            name = column["name"]
            if name in rows.column_names:
                columns[name] = rows.column(name)
            else:
                columns[name] = pa.nulls(rows.num_rows, _ARROW_TYPES[column["type"]])
        return pa.table(columns)

    def _probabilities(self, features: pa.Table) -> Any:
        if self.classes is None or getattr(self.pipeline, "predict_proba", None) is None:
            return None
        return np.asarray(self.pipeline.predict_proba(features), dtype=np.float64)


def load_model(model_dir: Path, opener: Open | None = None) -> LoadedModel:
    """Read `volant.json` and the pickled pipeline beside it; where there is none, the
    model as it will serve, through `opener`.

    Only folders that this platform wrote may come here: unpickling runs code.
    Raises `InvalidInput` when a file is missing, broken or can't be unpickled here.
    """
    try:
        facts = json.loads((model_dir / "volant.json").read_text(encoding="utf-8"))
        if "native" not in facts and opener is not None:
            pipeline: Any = open_served(model_dir, opener)
        else:
            with (model_dir / facts["native"]["file"]).open("rb") as file:
                pipeline = pickle.load(file)  # noqa: S301 - our own file, checked by the registry
        signature = facts["signature"]
        return LoadedModel(facts["task"], signature["inputs"], signature["classes"], pipeline)
    except VolantError:
        raise
    except Exception as error:  # unpickling can raise anything
        raise InvalidInput(
            f"The model in {model_dir} can't be loaded: {type(error).__name__}: {error}",
            "Train it again, or restore its files from the artifact store.",
            code="model_unreadable",
        ) from error
