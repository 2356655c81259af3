"""One file that holds files: a tar whose every byte follows from names and contents.

The writer and the reader make the same headers, so the reader parses nothing but the
first size: where another header stands than the expected one, the file is refused. Links,
climbing paths, doubles and whatever else a tar may hold can't be in it.

The format is POSIX ustar, with a pax header where a name is longer than 100 bytes or not
ASCII (IEEE Std 1003.1, *pax*); sizes of 8 GiB and more are base-256, as GNU tar has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from volant.errors import InvalidInput

BLOCK = 512
CHUNK = 1 << 20
END = bytes(2 * BLOCK)
_MODE = b"0000644\0"
_ZERO = b"0000000\0"


def header(name: str, size: int) -> bytes:
    """What stands before the `size` bytes of a file."""
    raw = name.encode()
    if len(raw) <= 100 and name.isascii():
        return _ustar(raw, size, b"0")
    record = _pax(raw)
    return _ustar(b"pax", len(record), b"x") + record + padding(len(record)) + _ustar(b"", size)


def padding(size: int) -> bytes:
    """What stands after the bytes of a file, up to the next block."""
    return bytes(-size % BLOCK)


def measured(name: str, size: int) -> int:
    """How many bytes a file takes in the tar."""
    return len(header(name, size)) + size + len(padding(size))


def first_size(head: bytes, name: str) -> int | None:
    """The size that a file's header tells, if it is one of a file of that name."""
    digits = head[124:135]
    if not digits.isdigit():
        return None
    size = int(digits, 8) if all(c < 0x38 for c in digits) else -1
    return size if size >= 0 and head == header(name, size) else None


def content(source: BinaryIO, size: int, sha256: str, name: str) -> Iterator[bytes]:
    """The next `size` bytes in blocks; raises `InvalidInput` at their end when they are
    fewer, or aren't those of that SHA-256."""
    digest, left = hashlib.sha256(), size
    while left:
        block = source.read(min(CHUNK, left))
        if not block:
            raise broken(f"it ends within {name!r}")
        digest.update(block)
        left -= len(block)
        yield block
    if digest.hexdigest() != sha256:
        raise broken(f"{name!r} isn't what its manifest says")


def broken(how: str) -> InvalidInput:
    """The error for a file that isn't what was exported."""
    return InvalidInput(
        f"This isn't an exported model as Volant writes it: {how}.",
        "Export it again (volant models export), and see that it is copied whole.",
        code="model.export_broken",
    )


def _ustar(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    octal = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    before = name.ljust(100, b"\0") + _MODE + _ZERO + _ZERO + octal + b"0" * 11 + b"\0"
    after = kind + bytes(100) + b"ustar\x0000" + bytes(64) + _ZERO + _ZERO + bytes(167)
    checksum = sum(before) + sum(after) + 8 * 0x20
    return before + b"%06o\0 " % checksum + after


def _pax(name: bytes) -> bytes:
    body = b" path=" + name + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return str(length).encode() + body
