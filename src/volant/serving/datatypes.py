"""The Open Inference Protocol's datatypes, and their arrays.

Two have no type of NumPy's own. BF16 is a binary32 without its lower 16 bits: arrays of
it are float32 here, and 16-bit words on the wire. BYTES are object arrays of `str`, or of
`bytes` where they aren't UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

RANGE: dict[str, tuple[int, int]] = {
    f"{prefix}INT{bits}": ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), (0, 2**bits - 1))[
        prefix == "U"
    ]
    for prefix in ("", "U")
    for bits in (8, 16, 32, 64)
}
"""The least and the largest value of each whole type."""

FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})
DATATYPES: tuple[str, ...] = ("BOOL", *RANGE, "FP16", "FP32", "FP64", "BF16", "BYTES")

# On the wire, all little-endian; BYTES have no fixed size.
WIRE: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{
        name: np.dtype(f"<{'u' if name[0] == 'U' else 'i'}{hi.bit_length() + 7 >> 3}")
        for name, (_, hi) in RANGE.items()
    },
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
}

DTYPE: dict[str, np.dtype[Any]] = {
    **WIRE,
    "BF16": np.dtype("<f4"),
    "BYTES": np.dtype(object),
}
"""The element type of an array of each datatype, as models are fed."""


def from_bf16(words: Array) -> Array:
    """16-bit words to the float32 values that they are the upper half of; exact."""
    return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(values: Array) -> Array:
    """The nearest BF16 of each value (ties to even, as IEEE 754 rounds), as 16-bit words;
    a NaN stays one."""
    single = np.ascontiguousarray(values, dtype=np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(single), quiet, rounded).astype("<u2")


def texts(values: Sequence[Any]) -> Array:
    """A flat object array; NumPy is given no chance to guess at the elements."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
