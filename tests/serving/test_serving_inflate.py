"""Compressed bodies: what clients send, and what would grow."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.serving.inflate import inflated
from volant.serving.refusal import Refusal


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@settings(max_examples=60)
@given(st.binary(max_size=500))
def test_serving_bodies_are_inflated(data):
    for coding, packed in (
        (b"gzip", gzip.compress(data, mtime=0)),
        (b" X-GZIP ", gzip.compress(data, mtime=0)),
        (b"deflate", zlib.compress(data)),
        (b"identity", data),
        (b"", data),
    ):
        assert inflated(packed, coding, 1000) == data


def test_serving_raw_deflate_is_taken_too():
    assert inflated(raw_deflate(b'{"inputs": []}' * 9), b"deflate", 1000) == b'{"inputs": []}' * 9


@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (gzip.compress(b"x" * 10_000_000, mtime=0), b"gzip", 413, "at most 1000 bytes after gzip"),
        (raw_deflate(b"x" * 10_000_000), b"deflate", 413, "at most 1000 bytes after deflate"),
        (gzip.compress(b"x", mtime=0)[:-3], b"gzip", 400, "cut short"),
        (b"", b"gzip", 400, "cut short"),
        (gzip.compress(b"x", mtime=0) + b"more", b"gzip", 400, "got 4 bytes"),
        (b"not packed", b"gzip", 400, "expected a gzip stream"),
        (b"x", b"br", 415, "expected gzip, deflate or none"),
        (b"x", b"gzip, gzip", 415, "expected gzip, deflate or none"),
    ],
)
def test_serving_broken_and_growing_bodies_are_refused(body, coding, status, words):
    with pytest.raises(Refusal) as caught:
        inflated(body, coding, 1000)
    assert caught.value.status == status
    assert words in caught.value.text
