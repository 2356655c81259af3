"""HTTP/2's frames (RFC 9113) and the header blocks that every gRPC answer is made of.

Answers use no dynamic table (RFC 7541, 4.2): their blocks are constants.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from urllib.parse import quote

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(
    1, 7
)

WINDOW = 65_535  # each window's size until it is said otherwise
LARGEST_WINDOW = 2**31 - 1
SMALLEST_FRAME = 16_384  # the least that every side takes

_HEAD = Struct(">HBBBI")
_PAIR = Struct(">HI")
_TWO = Struct(">II")


class Fault(IntEnum):
    """Error codes, RFC 9113, 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """What the client sent ends the whole connection."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame; the payload must fit the other side's largest frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_PAIR.pack(*pair) for pair in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifier and value, in order. Raises `ConnectionFault`."""
    if len(payload) % 6:
        raise ConnectionFault(Fault.FRAME_SIZE_ERROR, "SETTINGS of an odd size.")
    return [_PAIR.unpack_from(payload, at) for at in range(0, len(payload), 6)]  # type: ignore[misc]


def window_update(stream: int, credit: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, credit.to_bytes(4))


def reset(stream: int, fault: Fault) -> bytes:
    return frame(RST_STREAM, 0, stream, int(fault).to_bytes(4))


def goaway(last_stream: int, fault: Fault, text: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, _TWO.pack(last_stream, fault) + text.encode()[:256])


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload without its padding, RFC 9113, 6.1. Raises `ConnectionFault`."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Fault.PROTOCOL_ERROR, "More padding than payload.")
    return payload[1 : len(payload) - payload[0]]


_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

# Header blocks, RFC 7541: literals without indexing, nothing Huffman-coded.


def _integer(value: int, bits: int, first: int) -> bytes:
    """RFC 7541, 5.1; `first` holds the bits before the prefix."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    coded = bytearray([first | most])
    value -= most
    while value >= 128:
        coded.append(value & 127 | 128)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def field(name: bytes, value: bytes) -> bytes:
    """One header of a block."""
    return b"\x00%b%b%b%b" % (_integer(len(name), 7, 0), name, _integer(len(value), 7, 0), value)


_ACCEPTS = field(b"grpc-accept-encoding", b"identity,deflate,gzip")
# 0x88 is the static table's `:status: 200`.
_GRPC = b"\x88" + field(b"content-type", b"application/grpc") + _ACCEPTS
_STATUS_OK = field(b"grpc-status", b"0")


class Ready:
    """A HEADERS frame that lacks nothing but its stream."""

    __slots__ = ("after", "before")

    def __init__(self, block: bytes, flags: int) -> None:
        whole = frame(HEADERS, flags, 0, block)
        self.before = whole[:5]
        self.after = whole[9:]

    def of(self, stream: int) -> bytes:
        """The frame."""
        return self.before + stream.to_bytes(4) + self.after


BEGIN = Ready(_GRPC, END_HEADERS)
END = Ready(_STATUS_OK, END_HEADERS | END_STREAM)


def begin_encoded(stream: int, encoding: bytes) -> bytes:
    """`BEGIN` for messages that may be compressed."""
    return frame(HEADERS, END_HEADERS, stream, _GRPC + field(b"grpc-encoding", encoding))


def end(stream: int, code: int, text: str, mark: bytes, *, begun: bool) -> bytes:
    """The trailers, or the whole answer when nothing of it has been sent. `mark` are
    header lines as HTTP/1.1 has them."""
    block = b"" if begun else _GRPC
    block += field(b"grpc-status", b"%d" % code)
    if text:
        block += field(b"grpc-message", percent(text))
    for line in mark.split(b"\r\n") if mark else ():
        name, found, value = line.partition(b": ")
        if found:
            block += field(name, value)
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def percent(text: str) -> bytes:
    """A `grpc-message`: printable ASCII as it is, other bytes as %XX."""
    return quote(text[:2000], safe=_PRINTABLE, errors="replace").encode()


def plain_answer(stream: int, status: int, body: bytes) -> bytes:
    """An HTTP answer, not gRPC, for those who don't speak it."""
    block = (
        field(b":status", b"%d" % status)
        + field(b"content-type", b"application/json")
        + field(b"content-length", b"%d" % len(body))
    )
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)
