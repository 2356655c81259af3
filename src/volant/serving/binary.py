"""The binary tensor data extension: a frame of JSON and raw tensors behind it.

`Inference-Header-Content-Length` says how many bytes of the body are JSON; the rest are
the tensors that have a `binary_data_size`, in the order of the inputs. Elements are
little-endian; each BYTES element is a 4-byte length and that many bytes.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from volant.serving.datatypes import DTYPE, WIRE, Array, from_bf16, texts, to_bf16
from volant.serving.refusal import Refusal, shown

_LENGTH = struct.Struct("<I")


def json_length(header: bytes, size: int) -> int:
    """The value of `Inference-Header-Content-Length` over a body of `size` bytes. Raises
    `Refusal` (400)."""
    if not (header.isdigit() and len(header) < 20):
        raise Refusal(
            400,
            "Inference-Header-Content-Length: expected a whole number, got "
            f"{shown(header.decode('latin-1'))}.",
        )
    length = int(header)
    if length > size:
        raise Refusal(
            400,
            f"Inference-Header-Content-Length: expected at most the body's {size} bytes, "
            f"got {length}.",
        )
    return length


def unpack(raw: bytes | memoryview, name: str, datatype: str, shape: Sequence[int]) -> Array:
    """`raw` as a flat array of `DTYPE[datatype]`; of a fixed size and aligned in memory it
    is a read-only view. Raises `Refusal` (400) when the sizes don't fit."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return _unpack_bytes(raw, name, count)
    wire = WIRE[datatype]
    if len(raw) != count * wire.itemsize:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {count * wire.itemsize} bytes for {datatype} of "
            f"shape {list(shape)}, got {len(raw)}.",
        )
    array: Array = np.frombuffer(raw, wire)
    if datatype == "BF16":
        return from_bf16(array)
    if datatype == "BOOL" and count and array.view(np.uint8).max() > 1:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected the bytes 0 and 1 for BOOL, "
            f"got {int(array.view(np.uint8).max())}.",
        )
    return array if array.flags.aligned else array.copy()


def _unpack_bytes(raw: bytes | memoryview, name: str, count: int) -> Array:
    elements: list[Any] = []
    data, at, end = bytes(raw), 0, len(raw)
    while at < end:
        if end - at < 4:
            raise Refusal(
                400,
                f"Tensor {shown(name)}, element {len(elements)}: expected a 4-byte length, "
                f"got {end - at} bytes.",
            )
        length = _LENGTH.unpack_from(data, at)[0]
        at += 4
        if length > end - at:
            raise Refusal(
                400,
                f"Tensor {shown(name)}, element {len(elements)}: expected {length} bytes as its "
                f"length says, got {end - at}.",
            )
        elements.append(text_of(data[at : at + length]))
        at += length
    if len(elements) != count:
        raise Refusal(
            400,
            f"Tensor {shown(name)}: expected {count} BYTES elements for its shape, "
            f"got {len(elements)}.",
        )
    return texts(elements)


def text_of(element: bytes) -> str | bytes:
    """A BYTES element as the models get it."""
    try:
        return element.decode()
    except UnicodeDecodeError:
        return element


def pack(array: Array, datatype: str) -> bytes:
    """An answer's array as the wire has it, row-major."""
    if datatype == "BYTES":
        return _pack_bytes(array.reshape(-1).tolist())
    if datatype == "BF16":
        words = array if array.dtype == np.uint16 else to_bf16(array)
        return words.tobytes()
    return np.ascontiguousarray(array, dtype=WIRE[datatype]).tobytes()


def _pack_bytes(elements: list[Any]) -> bytes:
    parts: list[bytes] = []
    for element in elements:
        raw = element if isinstance(element, bytes) else str(element).encode(errors="replace")
        parts += (_LENGTH.pack(len(raw)), raw)
    return b"".join(parts)


def of_one_type(array: Array, datatype: str) -> Array:
    """An answer's array with the element type that its datatype promises."""
    if datatype == "BF16":
        return from_bf16(array if array.dtype == np.uint16 else to_bf16(array))
    return array.astype(DTYPE[datatype], copy=False)
