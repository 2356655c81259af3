"""How predictions lie in a segment of the prediction log: bytes to records and back.

A segment is `MAGIC` and then frames: the payload's length and CRC-32 (two unsigned
32-bit numbers, little endian as everything here), then the payload. A length of zero,
what a fresh file holds, is the end. A frame whose CRC doesn't match was being written
when its process died; no answer had left for it, and nothing follows it.

The first frame tells whose segment it is, as JSON. Every other one holds one batch, as
the arrays that the model was given and gave: nothing is turned into text on the way,
except arrays of texts, which are JSON.
"""

from __future__ import annotations

import base64
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, cast

import numpy as np
import orjson

MAGIC = b"VOLANTP1"
FRAME = struct.Struct("<II")

_META, _CALLER, _BATCH = 0, 1, 2
# kind, flags, feeds, outputs, requests, rows, time of the answer (seconds since 1970)
_HEAD = struct.Struct("<BBBBIId")
_NAMED = struct.Struct("<BxH")  # kind, number of the caller
_ARRAY = struct.Struct("<4sBxxxI")  # NumPy's dtype, dimensions, bytes
_ROWS, _IDS, _FAILED = 1, 2, 4  # flags: what isn't as usual
_ALIKE = 8  # all feeds are of one type and shape: it is told once, before their values
_TEXTS = b"json"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that were predicted together. `time` is that of their answer, in seconds
    since 1970; `latencies` are milliseconds; `rows` has one count a request; `status` is
    an HTTP status, and there are no outputs when it isn't 200."""

    time: float
    latencies: Sequence[float]
    callers: Sequence[str]
    rows: Sequence[int]
    ids: Sequence[str | None]
    status: int
    feeds: tuple[Array, ...]
    outputs: tuple[Array, ...]


def frame(payload: bytes) -> bytes:
    """`payload` as it lies in the file."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def meta_payload(meta: Mapping[str, Any]) -> bytes:
    """The first frame's content."""
    return bytes((_META,)) + orjson.dumps(dict(meta))


def caller_payload(number: int, caller: str) -> bytes:
    """From here on `number` means `caller`."""
    return _NAMED.pack(_CALLER, number) + caller.encode()


def batch_payload(  # noqa: PLR0917 - in the order they lie there; hot
    time: float,
    latencies: Sequence[float],
    callers: Sequence[int],
    rows: Sequence[int] | None,
    ids: Sequence[str | None] | None,
    status: int,
    feeds: Sequence[Array],
    outputs: Sequence[Array],
) -> bytes:
    """One batch. `rows` is None when every request has one row, `ids` when none has an
    id; `callers` are the numbers that `caller_payload` gave out."""
    count = len(latencies)
    flags = 0
    parts = [b"", array("f", latencies).tobytes(), array("H", callers).tobytes()]
    total = count
    if rows is not None:
        flags |= _ROWS
        total = sum(rows)
        parts.append(array("I", rows).tobytes())
    if ids is not None:
        flags |= _IDS
        named = orjson.dumps(ids)
        parts.append(len(named).to_bytes(4, "little") + named)
    if status != 200:
        flags |= _FAILED
        parts.append(status.to_bytes(2, "little"))
    if (body := _alike(feeds)) is not None:
        flags |= _ALIKE
        first = feeds[0]
        parts += (_head_of(first.dtype, first.shape), body)
    else:
        for each in feeds:
            _pack(each, parts)
    for each in outputs:
        _pack(each, parts)
    parts[0] = _HEAD.pack(_BATCH, flags, len(feeds), len(outputs), count, total, time)
    return b"".join(parts)


def _alike(feeds: Sequence[Array]) -> bytes | None:
    """The values of all feeds, if they are numbers of one type and shape. A model has a
    feed for each column, and one by one thirty of them take longer than the prediction."""
    if len(feeds) < 2 or feeds[0].dtype.hasobject:
        return None
    count, first = len(feeds), feeds[0]
    if [each.dtype for each in feeds].count(first.dtype) < count:
        return None
    if [each.shape for each in feeds].count(first.shape) < count:
        return None
    try:
        return b"".join(cast("Sequence[bytes]", feeds))  # an array is a buffer
    except TypeError:  # columns of a matrix don't lie in one piece
        return b"".join([each.tobytes() for each in feeds])


def _shape(kind: bytes, shape: Sequence[int], size: int) -> bytes:
    return _ARRAY.pack(kind, len(shape), size) + array("I", shape).tobytes()


@lru_cache(4096)  # batches have few sizes, and columns few types
def _head_of(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return _shape(kind.str.encode(), shape, kind.itemsize * prod(shape))


def _pack(values: Array, parts: list[bytes]) -> None:
    if values.dtype.hasobject:
        body = orjson.dumps(values.reshape(-1).tolist(), default=_not_text)
        parts += (_shape(_TEXTS, values.shape, len(body)), body)
    else:
        parts += (_head_of(values.dtype, values.shape), values.tobytes())


def _not_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def payloads(segment: bytes | memoryview) -> Iterator[memoryview]:
    """The whole frames of a segment, up to its end or the first torn one.

    Raises `ValueError` when it isn't a segment at all.
    """
    view = memoryview(segment)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise ValueError("it doesn't begin as a segment does")
    at = len(MAGIC)
    while at + FRAME.size <= len(view):
        length, crc = FRAME.unpack_from(view, at)
        at += FRAME.size
        payload = view[at : at + length]
        if not length or len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield payload
        at += length


def read_segment(segment: bytes | memoryview) -> tuple[dict[str, Any], Iterator[Batch]]:
    """Whose segment it is, and its batches.

    Raises `ValueError` when that can't be read.
    """
    frames = payloads(segment)
    first = next(frames, None)
    if first is None or first[0] != _META:
        raise ValueError("its first frame is missing")
    return orjson.loads(bytes(first[1:])), _batches(frames)


def _batches(frames: Iterator[memoryview]) -> Iterator[Batch]:
    callers: dict[int, str] = {}
    for payload in frames:
        if payload[0] == _CALLER:
            _, number = _NAMED.unpack_from(payload)
            callers[number] = bytes(payload[_NAMED.size :]).decode(errors="replace")
        elif payload[0] == _BATCH:
            yield _batch(payload, callers)


def _batch(payload: memoryview, callers: Mapping[int, str]) -> Batch:
    _, flags, feeds, outputs, count, _total, time = _HEAD.unpack_from(payload)
    reader = _Reader(payload, _HEAD.size)
    latencies = reader.numbers("<f4", count)
    numbers = reader.numbers("<u2", count)
    rows = reader.numbers("<u4", count) if flags & _ROWS else [1] * count
    ids: list[str | None] = [None] * count
    if flags & _IDS:
        ids = orjson.loads(reader.take(int.from_bytes(reader.take(4), "little")))
    status = int.from_bytes(reader.take(2), "little") if flags & _FAILED else 200
    given = reader.alike(feeds) if flags & _ALIKE else [reader.array() for _ in range(feeds)]
    return Batch(
        time=time,
        latencies=latencies,
        callers=[callers.get(number, "") for number in numbers],
        rows=rows,
        ids=ids,
        status=status,
        feeds=tuple(given),
        outputs=tuple(reader.array() for _ in range(outputs)),
    )


class _Reader:
    def __init__(self, payload: memoryview, at: int) -> None:
        self._payload = payload
        self._at = at

    def take(self, size: int) -> bytes:
        taken = bytes(self._payload[self._at : self._at + size])
        self._at += size
        return taken

    def numbers(self, kind: str, count: int) -> list[Any]:
        dtype = np.dtype(kind)
        return np.frombuffer(self.take(dtype.itemsize * count), dtype).tolist()

    def shape(self) -> tuple[bytes, int, list[int]]:
        kind, dimensions, size = _ARRAY.unpack(self.take(_ARRAY.size))
        return kind, size, self.numbers("<u4", dimensions)

    def alike(self, count: int) -> list[Array]:
        kind, size, shape = self.shape()
        return [_numbers(kind, self.take(size), shape) for _ in range(count)]

    def array(self) -> Array:
        kind, size, shape = self.shape()
        body = self.take(size)
        if kind == _TEXTS:
            found = orjson.loads(body)
            values = np.empty(len(found), dtype=object)
            values[:] = found
            return values.reshape(shape)
        return _numbers(kind, body, shape)


def _numbers(kind: bytes, body: bytes, shape: Sequence[int]) -> Array:
    return np.frombuffer(body, np.dtype(kind.rstrip(b"\0").decode())).reshape(shape)
