"""A fitted scikit-learn estimator or pipeline, for models that ONNX can't hold.

It comes from a pickle: the registry takes only those that this platform made or that an
admin vouched for, and only the very bytes that were registered are loaded.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np

from volant.errors import EXTRAS, MissingExtra
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.query import Answer
from volant.serving.refusal import Refusal
from volant.serving.runtimes.labels import cast_labels, label_kind


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NativeModel:
    """The pickle, and the user's modules beside it, proven."""
    del runtime
    body = files.read(description.file)
    code = files.folder / "code"
    if code.is_dir():
        files.prove("code")
        sys.path.insert(0, str(code))
    return NativeModel(unpickled(body, description.file), description)


def unpickled(body: bytes, name: str) -> Any:
    """What `body` holds; joblib's own form is told by the file's name. Runs code."""
    if name.endswith(".joblib"):
        import joblib

        return joblib.load(io.BytesIO(body))
    return pickle.loads(body)  # noqa: S301 - proven by SHA-256


# What code that takes a frame for granted raises of an array.
_OF_AN_ARRAY = (AttributeError, ImportError, IndexError, KeyError, TypeError)


def _wants_a_frame(error: Exception) -> bool:
    """scikit-learn's own parts that pick columns by name say so."""
    return isinstance(error, _OF_AN_ARRAY) or "dataframe" in str(error).lower()


def _has_pandas() -> bool:
    return find_spec("pandas") is not None


def _no_pandas() -> MissingExtra:
    return MissingExtra("pandas", EXTRAS["pandas"])


class NativeModel:
    """A model that was fitted on a DataFrame is asked with one; where pandas isn't installed
    with an array, if it can do with that, and else refused as `MissingExtra`."""

    def __init__(self, pipeline: Any, description: Description) -> None:
        self.description = description
        self._kind = label_kind(description)
        self._columns = description.columns
        self._names = [column.name for column in description.columns]
        steps = getattr(pipeline, "steps", None)
        first = steps[0][1] if steps else None
        # Volant's own first step takes columns by name and brings them into the form
        # that the rest was fitted on; anything else gets what it was fitted on.
        self._by_name = all(hasattr(first, name) for name in ("names", "types", "form"))
        self._framed = not self._by_name and hasattr(pipeline, "feature_names_in_")
        self._order = self._arrays_order(pipeline) if self._framed and not _has_pandas() else None
        self._prepare = pipeline[:-1].transform if steps and len(steps) > 1 else None
        self._estimator = steps[-1][1] if steps and self._prepare else pipeline
        if self._order is not None:
            with suppress(Refusal):  # of these values
                self.predict([np.zeros((1, 1))] * len(self._names))

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises `Refusal` (400) when the model refuses the values (`ValueError`)."""
        try:
            table = self._table(feeds)
            if self._prepare is not None:
                table = self._prepare(table)
            labels = np.asarray(self._estimator.predict(table)).reshape(-1)
            probabilities = (
                np.asarray(self._estimator.predict_proba(table))
                if self.description.probabilities is not None
                else None
            )
        except (ValueError, *_OF_AN_ARRAY) as error:
            if self._order is not None and _wants_a_frame(error):
                raise _no_pandas() from error
            if not isinstance(error, ValueError):
                raise
            raise Refusal(400, f"The model can't take these values: {error}") from None
        labels = cast_labels(labels, self._kind)
        return Answer((labels,) if probabilities is None else (labels, probabilities))

    def _arrays_order(self, pipeline: Any) -> list[int]:
        """Where the columns that it was fitted on are, in their order, to make an array of.

        Raises `MissingExtra` unless all are numbers: a frame keeps each column's own type.
        """
        if any(column.type in ("string", "timestamp") for column in self._columns):
            raise _no_pandas()
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        fitted = [str(name) for name in pipeline.feature_names_in_]
        if sorted(fitted) != sorted(self._names):  # as a frame of other columns is refused
            raise ValueError(f"it was fitted on the columns {', '.join(fitted[:12])}")
        return [self._names.index(name) for name in fitted]

    def _table(self, feeds: Sequence[Array]) -> Any:
        if self._by_name:
            return {name: f[:, 0] for name, f in zip(self._names, feeds, strict=True)}
        if self._order is not None:
            return np.concatenate([feeds[place] for place in self._order], axis=1)
        if self._framed:
            from volant.serving.runtimes.frame import to_frame

            return to_frame(self._columns, feeds)
        if all(feed.dtype != object for feed in feeds):
            return np.concatenate(feeds, axis=1)
        return np.concatenate([feed.astype(object) for feed in feeds], axis=1)
