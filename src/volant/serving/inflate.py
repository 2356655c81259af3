"""Compressed request bodies, bounded: a small body may not become a large one."""

from __future__ import annotations

import zlib

from volant.serving.refusal import Refusal, shown

_AUTO = zlib.MAX_WBITS | 32  # finds out itself whether it is gzip (RFC 1952) or zlib (1950)
_RAW = -zlib.MAX_WBITS  # deflate without a wrapper (RFC 1951), which some clients send


def inflated(body: bytes, encoding: bytes, limit: int) -> bytes:
    """`body` without its `Content-Encoding`. Raises `Refusal`: 415 for another coding than
    gzip and deflate, 413 above `limit` bytes, 400 for a broken stream."""
    coding = encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise Refusal(
            415,
            "Content-Encoding: expected gzip, deflate or none, got "
            f"{shown(encoding.decode('latin-1'))}.",
            b"accept-encoding: gzip, deflate\r\n",
        )
    word = coding.decode()
    raw = coding == b"deflate" and not _has_zlib_head(body)
    stream = zlib.decompressobj(_RAW if raw else _AUTO)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(400, f"The body: expected a {word} stream, got {error}.") from None
    if len(plain) > limit:
        raise Refusal(
            413, f"The body: expected at most {limit} bytes after {word}, got more than that."
        )
    if not stream.eof:
        raise Refusal(400, f"The body: expected a whole {word} stream, got one cut short.")
    if stream.unused_data:
        raise Refusal(
            400,
            f"The body: expected nothing behind the {word} stream, got "
            f"{len(stream.unused_data)} bytes.",
        )
    return plain


def _has_zlib_head(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
