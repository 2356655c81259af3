"""Models that answer arrays by name: the shape that most runtimes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from volant.errors import InvalidInput
from volant.serving.datatypes import DTYPE, Array, texts
from volant.serving.description import Description, Output
from volant.serving.query import Answer

Call = Callable[[Sequence[Array]], Mapping[str, Array]]

_DATATYPE = {dtype: name for name, dtype in DTYPE.items() if name not in ("BF16", "BYTES")}


class NamedModel:
    """`call` takes feeds as a `Model` does and answers arrays by name, more of them
    perhaps than the description's outputs."""

    def __init__(self, description: Description, call: Call) -> None:
        self.description = description
        self.call = call

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises what the model raises; `InvalidInput` when it doesn't answer what was
        registered."""
        named = self.call(feeds)
        rows = len(feeds[0]) if self.description.batchable else None
        return Answer(tuple(_checked(named, output, rows) for output in self.description.outputs))


def _checked(named: Mapping[str, Array], output: Output, rows: int | None) -> Array:
    array = named.get(output.name)
    if array is None:
        raise InvalidInput(
            f"The model answered {', '.join(named) or 'nothing'}, and no {output.name!r}.",
            "Let it answer what it answered when it was registered.",
        )
    wanted = output.shape
    fits = array.ndim == len(wanted) and all(
        want in (-1, size) for want, size in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"The model answered {output.name!r} of shape {list(array.shape)}; "
            f"registered was {list(wanted)}.",
            "Let it answer what it answered when it was registered.",
        )
    if rows is not None and len(array) != rows:
        raise other_rows(output.name, len(array), rows)
    return array.astype(DTYPE[output.datatype], copy=False)


def other_rows(name: str, answered: int, asked: int) -> InvalidInput:
    """For an answer whose values can't be told apart by row."""
    return InvalidInput(
        f"The model answered {name!r} for {answered} rows; it was asked for {asked}.",
        "Let it answer one entry a row.",
        code="model.outputs",
    )


def datatype_of(array: Array) -> str:
    """In the protocol's words. Raises `InvalidInput` for what it has no word for."""
    if array.dtype == object:
        return "BYTES"
    name = _DATATYPE.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise InvalidInput(
            f"The model answers an array of {array.dtype}, which the protocol doesn't have.",
            "Let it answer booleans, whole numbers, floats or texts.",
        )
    return name


def as_named(result: Any) -> dict[str, Array]:
    """What a user's model returned, as arrays by name: a mapping or a DataFrame by its
    keys, a sequence of arrays as `output_0`…, anything else as `prediction`."""
    if isinstance(result, Mapping):
        return {str(name): as_array(value) for name, value in result.items()}
    if hasattr(result, "columns") and hasattr(result, "iloc"):  # a DataFrame
        return {str(name): as_array(result[name].to_numpy()) for name in result.columns}
    if isinstance(result, tuple):
        return {f"output_{i}": as_array(value) for i, value in enumerate(result)}
    return {"prediction": as_array(result)}


def as_array(value: Any) -> Array:
    """An array of numbers, booleans or texts. Raises `InvalidInput` for lists of different
    lengths, which are no array."""
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except ValueError as error:  # the model's fault, and no refusal of what it was asked
        raise InvalidInput(
            f"The model's answer is no array: {error}",
            "Let it answer lists of the same length, or arrays.",
            code="model.outputs",
        ) from None
    if array.dtype.kind in "USO":
        flat = [v if isinstance(v, str | bytes) else _text(v) for v in array.ravel().tolist()]
        return texts(flat).reshape(array.shape)
    return array


def _text(value: Any) -> str:
    return "" if value is None else str(value)
