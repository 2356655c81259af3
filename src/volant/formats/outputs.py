"""A model's outputs: what was told of them, and what it answered to its example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from volant.domain.model import TensorSpec
from volant.errors import InvalidInput
from volant.formats.draft import Draft


def settled(draft: Draft, found: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The outputs to register; `found` are those of one row and two.

    Declared ones hold, if `found` fits them; so do those that a graph tells, its -1 too: what
    it leaves open may follow from the values. `found` completes a graph that tells no shape.
    A size that the example alone tells is -1 where the inputs have other sizes than their
    first that may be any: it may follow from one of them.

    Raises `InvalidInput` when the model doesn't answer what was declared.
    """
    varying = any(-1 in one.shape[1:] for one in draft.tensors)
    by_name = {one.name: one for one in found}
    if draft.kind == "onnx":
        return tuple(_completed(told, by_name[told.name], varying) for told in draft.outputs)
    # MLflow's signatures name outputs that its own models then answer without a name.
    unnamed = draft.kind == "mlflow" and not all(one.name in by_name for one in draft.outputs)
    if draft.outputs and not unnamed:
        return tuple(_agreed(told, by_name) for told in draft.outputs)
    if not varying:
        return tuple(found)
    return tuple(replace(one, shape=_loose(one.shape)) for one in found)


def _loose(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:1], *(-1 for _ in shape[1:]))


def _completed(told: TensorSpec, found: TensorSpec, varying: bool) -> TensorSpec:
    if len(told.shape) == len(found.shape):
        return told
    return replace(told, shape=_loose(found.shape) if varying else found.shape)


def _agreed(told: TensorSpec, found: dict[str, TensorSpec]) -> TensorSpec:
    one = found.get(told.name)
    if one is None:
        raise _other(told, f"answers {', '.join(found)}")
    fits = len(one.shape) == len(told.shape) and all(
        want in (-1, size) for want, size in zip(told.shape, one.shape, strict=True)
    )
    if not fits or _kind(one.datatype) != _kind(told.datatype):
        raise _other(told, f"answers it as {one.datatype} {list(one.shape)}")
    return told


def _kind(datatype: str) -> str:
    """Numbers are cast to the declared ones."""
    return datatype if datatype in ("BOOL", "BYTES") else "number"


def _other(told: TensorSpec, what: str) -> InvalidInput:
    return InvalidInput(
        f"The signature declares the output {told.name!r}, {told.datatype} {list(told.shape)}; "
        f"the model {what}.",
        "Correct `outputs` in the signature, or leave them out.",
        code="model.outputs",
    )
