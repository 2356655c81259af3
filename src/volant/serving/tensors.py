"""Tensors of a request to the feeds of a model that takes tensors: by name, with the
datatype of the signature and a shape that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volant.serving.datatypes import DTYPE, FLOATS, RANGE, Array, texts
from volant.serving.description import Description, TensorInput
from volant.serving.given import dims
from volant.serving.query import Given
from volant.serving.refusal import Refusal, nearest, shown

_WORDS = {"BOOL": "true or false", "BYTES": "a string"}
# Keras makes up the names of inputs, other ones with each release.
_MADE_UP = frozenset({"tensorflow", "openvino"})


def tensor_feeds(given: Sequence[Given], model: Description) -> tuple[int, tuple[Array, ...]]:
    """Rows (1 where the model isn't batchable) and feeds. Raises `Refusal` (400)."""
    known = {tensor.name: tensor for tensor in model.inputs}
    feeds: dict[str, Array] = {}
    only = model.inputs[0] if model.kind in _MADE_UP and len(model.inputs) == 1 else None
    for one in given:
        wanted = known.get(one.name) or only
        if wanted is None:
            raise Refusal(
                400,
                f"Tensor {shown(one.name)}: expected one of the inputs "
                f"{', '.join(known)}.{nearest(one.name, known)}",
            )
        if wanted.name in feeds:
            raise Refusal(400, f"Tensor {shown(one.name)}: expected once, got twice.")
        feeds[wanted.name] = _feed(one, wanted)
    missing = [name for name in known if name not in feeds]
    if missing:
        raise Refusal(
            400,
            f"Expected the inputs {', '.join(known)}, got {len(feeds)} of them: "
            f"missing {', '.join(missing[:20])}.",
        )
    ordered = tuple(feeds[name] for name in known)
    return (_rows(ordered, model) if model.batchable else 1), ordered


def batch_key(feeds: Sequence[Array], model: Description) -> object:
    """What feeds must have in common to be predicted together; None: nothing."""
    if not model.batchable:
        return object()  # equal to none but itself
    return tuple(feed.shape[1:] for feed in feeds) if model.ragged else None


def _rows(feeds: Sequence[Array], model: Description) -> int:
    rows = len(feeds[0])
    for tensor, feed in zip(model.inputs, feeds, strict=True):
        if len(feed) != rows:
            raise Refusal(
                400,
                f"Tensor {shown(tensor.name)}: expected {rows} rows as the input "
                f"{shown(model.inputs[0].name)} has, got {len(feed)}.",
            )
    if rows < 1:
        raise Refusal(400, "Expected at least one row, got none.")
    return rows


def _feed(given: Given, wanted: TensorInput) -> Array:
    if given.datatype != wanted.datatype:
        raise Refusal(
            400,
            f"Tensor {shown(given.name)}: expected the datatype {wanted.datatype}, "
            f"got {given.datatype}.",
        )
    shape = given.shape
    fits = len(shape) == len(wanted.shape) and all(
        want in (-1, size) for want, size in zip(wanted.shape, shape, strict=True)
    )
    if not fits:
        raise Refusal(
            400,
            f"Tensor {shown(given.name)}: expected shape {dims(list(wanted.shape))} (-1 is any "
            f"size), got {dims(shape)}.",
        )
    data = given.data
    array = listed(data, given.datatype, given.name) if isinstance(data, list) else data
    return array.reshape(shape)


def listed(data: list[Any], datatype: str, name: str) -> Array:
    """JSON's values as a flat array of the datatype; a null is NaN where there is one.
    Raises `Refusal` (400)."""
    kinds = set(map(type, data))
    if datatype == "BYTES":
        return texts(_checked(data, kinds, datatype, name, {str, bytes}))
    if datatype == "BOOL":
        _checked(data, kinds, datatype, name, {bool, int})
        if int in kinds and any(value not in (0, 1) for value in data):
            raise _unfit(data, datatype, name)
        return np.array(data, dtype=np.bool_)
    if datatype in FLOATS:
        _checked(data, kinds, datatype, name, {int, float, type(None)})
        return _floats(data, datatype, name)
    _checked(data, kinds, datatype, name, {int, float})
    try:
        if float not in kinds:
            return np.array(data, dtype=DTYPE[datatype])
    except OverflowError:
        raise _unfit(data, datatype, name) from None
    low, high = RANGE[datatype]
    if any(v != v // 1 or not low <= v <= high for v in data):
        raise _unfit(data, datatype, name)
    return np.array([int(v) for v in data], dtype=DTYPE[datatype])


def _floats(data: list[Any], datatype: str, name: str) -> Array:
    with np.errstate(over="ignore"):
        exact = np.array(data, dtype=np.float64)
        array = exact.astype(DTYPE[datatype], copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        for i in np.flatnonzero(~finite).tolist():
            if data[i] is not None:
                raise Refusal(
                    400,
                    f"Tensor {shown(name)}, value {i}: expected a number within {datatype}, "
                    f"got {shown(data[i])}.",
                )
    return array


def _checked(
    data: list[Any], kinds: set[type], datatype: str, name: str, allowed: set[type]
) -> list[Any]:
    if not kinds <= allowed:
        i = next(i for i, value in enumerate(data) if type(value) not in allowed)
        raise _refused(data, i, datatype, name)
    return data


def _unfit(data: list[Any], datatype: str, name: str) -> Refusal:
    """The first value that is no whole number within the datatype."""
    low, high = RANGE.get(datatype, (0, 1))
    i = next(i for i, v in enumerate(data) if v != v // 1 or not low <= v <= high)
    return _refused(data, i, datatype, name)


def _refused(data: list[Any], i: int, datatype: str, name: str) -> Refusal:
    low, high = RANGE.get(datatype, (0, 0))
    words = _WORDS.get(datatype) or (
        "a number" if datatype in FLOATS else f"a whole number from {low} to {high}"
    )
    return Refusal(
        400,
        f"Tensor {shown(name)}, value {i}: expected {words} ({datatype}), got {shown(data[i])}.",
    )
