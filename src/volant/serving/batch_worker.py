"""A model in a process of its own environment, for a batch: `python -m` of that interpreter.

Requests come on standard input, answers go to what was standard output; the model's own
prints go to standard error. It ends when its input does, and so with who started it.

A message is its length in 8 bytes, a JSON object, and behind it the arrays' bytes. Arrays
of objects hold texts, bytes and None.
"""

from __future__ import annotations

import base64
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from volant.errors import VolantError
from volant.serving.datatypes import Array
from volant.serving.refusal import Refusal

_LENGTH = struct.Struct("<Q")


def send(file: IO[bytes], told: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Raises `OSError` when nobody listens any more."""
    packed = [_packed(array) for array in arrays]
    head = {
        **told,
        "arrays": [
            {"dtype": array.dtype.str, "shape": array.shape, "size": len(body)}
            for array, body in zip(arrays, packed, strict=True)
        ],
    }
    text = orjson.dumps(head)
    file.write(_LENGTH.pack(len(text)) + text)
    for body in packed:
        file.write(body)
    file.flush()


def receive(file: IO[bytes]) -> tuple[dict[str, Any], list[Array]]:
    """The next message and its arrays. Raises `EOFError` at the end."""
    told = orjson.loads(_exactly(file, *_LENGTH.unpack(_exactly(file, _LENGTH.size))))
    arrays = [
        _unpacked(_exactly(file, one["size"]), one["dtype"], one["shape"])
        for one in told.pop("arrays")
    ]
    return told, arrays


def _packed(array: Array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    values = [
        {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for value in array.ravel().tolist()
    ]
    return orjson.dumps(values, default=str)


def _unpacked(body: bytearray, dtype: str, shape: list[int]) -> Array:
    if np.dtype(dtype) != object:
        return np.frombuffer(body, np.dtype(dtype)).reshape(shape)
    values = orjson.loads(body)
    array = np.empty(len(values), dtype=object)
    array[:] = [base64.b64decode(v["b64"]) if isinstance(v, dict) else v for v in values]
    return array.reshape(shape)


def _exactly(file: IO[bytes], size: int) -> bytearray:
    body = bytearray(size)
    view, place = memoryview(body), 0
    while place < size:
        count = file.readinto(view[place:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        place += count
    return body


def main() -> None:
    """Load the model that the first message names, then predict until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from volant.serving.inference import load

    try:
        told, _ = receive(questions)
        try:
            model = load(Path(told["folder"]), told["files"])
        except VolantError as error:
            send(answers, {"error": error.to_dict()})
            return
        send(answers, {})
        while True:
            _, feeds = receive(questions)
            try:
                outputs = model.predict(feeds).outputs
            except Exception as error:  # what a model raises is the row's own fault there
                text = error.text if isinstance(error, Refusal) else str(error)
                send(answers, {"refused": text or type(error).__name__})
            else:
                send(answers, {}, outputs)
    except (EOFError, BrokenPipeError):
        sys.exit(0)


if __name__ == "__main__":
    main()
