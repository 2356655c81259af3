"""Which classes an ONNX classifier answers: its graph tells, though its outputs don't."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PASSES_ON = frozenset(
    {"Cast", "Flatten", "Identity", "Normalizer", "Reshape", "Squeeze", "Unsqueeze"}
)


def classes_of(path: Path, label: str, width: int) -> tuple[Any, ...] | None:
    """The classes behind the output `label`, in the order of the probabilities: whole
    numbers or texts.

    Args:
        path: The graph's file; weights beside it aren't read.
        label: The output that is the predicted class.
        width: How many probabilities a row has; not positive where that isn't known.

    None where the graph doesn't tell, or tells another number of them.
    """
    try:
        import onnx
    except ModuleNotFoundError:  # a model's own environment may do without it
        return None
    graph: Any = onnx.load(str(path), load_external_data=False).graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {one.name: one for one in graph.initializer}
    name: str = label
    while name in made and made[name].op_type in _PASSES_ON:
        name = made[name].input[0]
    if name not in made:
        return None
    found = _told(made[name], constants, made, width)
    return None if found is None or (width > 0 and len(found) != width) else found


def _told(
    node: Any, constants: Mapping[str, Any], made: Mapping[str, Any], width: int
) -> tuple[Any, ...] | None:
    if node.op_type == "ArgMax":  # the label is the place of the probability
        return tuple(range(width)) if width > 0 else None
    if node.op_type == "ArrayFeatureExtractor":
        return _constant(node.input[0], constants, made)
    for one in node.attribute:
        if one.name in ("classlabels_ints", "classlabels_int64s") and one.ints:
            return tuple(int(v) for v in one.ints)
        if one.name == "classlabels_strings" and one.strings:
            return tuple(v.decode("utf-8", "replace") for v in one.strings)
    return None


def _constant(
    name: str, constants: Mapping[str, Any], made: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """A stored tensor's values; None for one that is computed."""
    from onnx import TensorProto, numpy_helper

    while name in made and made[name].op_type in _PASSES_ON:
        name = made[name].input[0]
    if name not in constants or constants[name].data_location == TensorProto.EXTERNAL:
        return None
    values = numpy_helper.to_array(constants[name]).reshape(-1).tolist()
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values)
