"""TensorFlow: a SavedModel's signature, or a Keras file (.keras, .h5), on one thread.

Keras opens its .keras files in safe mode, which refuses Python within layers. A SavedModel's
graph may reach for files, and an .h5 may hold Python that old releases run: these are opened
only if somebody vouched for them when they were registered.
The SavedModel format: https://www.tensorflow.org/guide/saved_model
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the import: TensorFlow tells of devices that it doesn't find, at length.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # replicas compute on the processor

import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

from volant.errors import InvalidInput
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import Refusal
from volant.serving.runtimes.named import NamedModel

# Only until TensorFlow has begun to compute may that be said.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

_USUAL = ("serving_default", "serve")
_WORDS = {"bool": "BOOL", "string": "BYTES", "float16": "FP16", "float32": "FP32",
          "float64": "FP64", "bfloat16": "BF16"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """What a model takes, as (name, datatype in the protocol's words, shape) in its order,
    and what asks it with tensors in that order. `owner` must live as long as it is asked:
    it has the variables."""

    inputs: Sequence[tuple[str, str, tuple[int, ...]]]
    ask: Callable[[Sequence[Any]], Any]
    owner: Any


def open_model(
    files: ModelFiles, description: Description, runtime: Mapping[str, Any]
) -> NamedModel:
    """The model in `description.file`, a SavedModel's folder or a Keras file. Values that it
    can't take are refused (400)."""
    path = files.prove(description.file)
    opened = open_path(path, str(runtime.get("signature_key") or ""))
    places = {one.name: i for i, one in enumerate(description.inputs)}
    order = [places.get(name, i) for i, (name, _, _) in enumerate(opened.inputs)]

    def call(feeds: Sequence[Array]) -> Mapping[str, Array]:
        try:
            return answers(opened, [feeds[i] for i in order])
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            said = str(error).strip().splitlines()
            reason = said[0][:300] if said else type(error).__name__
            raise Refusal(400, f"The model can't take these values: {reason}") from None

    return NamedModel(description, call)


def open_path(path: Path, key: str = "") -> Opened:
    """Open a SavedModel's folder or a Keras file.

    Args:
        path: The folder or file.
        key: A SavedModel's signature; the usual one, or the only one, when empty.

    Raises `InvalidInput` when it has no such signature or doesn't tell what it takes, and
    what TensorFlow raises on files that it can't read.
    """
    return _saved_model(path, key) if path.is_dir() else _keras(path)


def answers(opened: Opened, feeds: Sequence[Array]) -> dict[str, Array]:
    """What it answers, by name, to arrays in the order of its inputs."""
    kinds = [kind for _, kind, _ in opened.inputs]
    return _named(opened.ask([_tensor(f, kind) for f, kind in zip(feeds, kinds, strict=True)]))


def _keras(path: Path) -> Opened:
    model: Any = tf.keras.models.load_model(str(path), compile=False, safe_mode=True)
    inputs = [_spec(str(one.name), one.dtype, one.shape) for one in model.inputs or ()]
    if not inputs:
        raise InvalidInput(
            f"{path.name} doesn't tell what it takes: its model was never built.",
            "Begin it with an Input layer, or call it once on values before it is saved.",
            code="model.signature",
        )
    struct: Any = getattr(model, "_inputs_struct", None)  # of functional models alone

    def ask(*tensors: Any) -> Any:
        if isinstance(struct, dict):
            given = tf.nest.pack_sequence_as(struct, list(tensors))
        else:
            given = tensors[0] if len(tensors) == 1 else list(tensors)
        return model(given, training=False)

    # Traced once, whatever the number of rows.
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in model.inputs]
    traced: Any = tf.function(ask, input_signature=specs)
    return Opened(inputs, lambda tensors: traced(*tensors), model)


def _saved_model(path: Path, key: str) -> Opened:
    loaded: Any = tf.saved_model.load(str(path))
    signatures: Mapping[str, Any] = loaded.signatures
    names = [name for name in ((key,) if key else _USUAL) if name in signatures]
    if not names and not key and len(signatures) == 1:
        names = list(signatures)
    if not names:
        raise InvalidInput(
            f"The SavedModel has the signatures {', '.join(signatures) or '(none)'}, and not"
            f" {key or _USUAL[0]}.",
            "Save it with signatures=, or with Keras's model.export(FOLDER).",
            code="model.signature",
        )
    function = signatures[names[0]]
    told: Mapping[str, Any] = function.structured_input_signature[1]
    # Keywords have no order of their own: let it be the same one every time.
    inputs = [_spec(name, told[name].dtype, told[name].shape) for name in sorted(told)]

    def ask(tensors: Sequence[Any]) -> Any:
        return function(**{name: t for (name, _, _), t in zip(inputs, tensors, strict=True)})

    return Opened(inputs, ask, loaded)


def _spec(name: str, dtype: Any, shape: Any) -> tuple[str, str, tuple[int, ...]]:
    kind: Any = tf.as_dtype(dtype)
    word = _WORDS.get(kind.name) or (kind.name.upper() if kind.is_integer else "")
    sizes: Any = tf.TensorShape(shape)
    if not word or sizes.rank is None:
        raise InvalidInput(
            f"The input {name!r} is {kind.name} of shape {sizes}.",
            "Save the model with an input signature of numbers, booleans or texts, and of a"
            " known number of dimensions.",
            code="model.signature",
        )
    return name, word, tuple(-1 if size is None else int(size) for size in sizes.as_list())


def _tensor(feed: Array, datatype: str) -> Any:
    if datatype == "BYTES":
        return tf.constant(feed.tolist(), dtype=tf.string, shape=feed.shape)
    return tf.constant(feed, dtype=tf.bfloat16 if datatype == "BF16" else None)


def _named(result: Any) -> dict[str, Array]:
    """Tensors by name: a mapping's keys, else `output_0`, `output_1`… as `model.export`
    names them."""
    if isinstance(result, Mapping):
        return {str(name): _array(value) for name, value in result.items()}
    values = list(result) if isinstance(result, tuple | list) else [result]
    return {f"output_{i}": _array(value) for i, value in enumerate(values)}


def _array(tensor: Any) -> Array:
    if not isinstance(tensor, tf.Tensor):
        raise TypeError(f"the model answers a {type(tensor).__name__}, not tensors")
    if tensor.dtype == tf.bfloat16:
        return tf.cast(tensor, tf.float32).numpy()
    array = np.asarray(tensor.numpy())
    return array if tensor.dtype != tf.string else _texts(array)


def _texts(array: Array) -> Array:
    """TensorFlow's strings are bytes; those that are UTF-8 are texts here."""
    found = np.empty(array.shape, dtype=object)
    for place in np.ndindex(array.shape):
        value: Any = array[place]
        try:
            found[place] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            found[place] = value
    return found
