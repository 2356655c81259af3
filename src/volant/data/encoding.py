"""A delivered text file as UTF-8, whatever it came in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from volant.errors import InvalidInput

_BLOCK = 1 << 24
_BOMS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Export it as CSV."),
    (b"\x1f\x8b", "compressed with gzip", "Decompress it first: gunzip FILE."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Decompress it first: unzstd FILE."),
    (b"BZh", "compressed with bzip2", "Decompress it first: bunzip2 FILE."),
    (b"%PDF", "a PDF document", "Export the data as CSV."),
)
_WESTERN_RUN = re.compile("[^\x00-\x7f]{4}")
_FOREIGN = re.compile("[^\x00-\x7f]")
_WESTERN = re.compile("[A-Za-zÀ-ÖØ-öø-ÿŠšŽžŸŒœ‘’“”„–—…€£°±²³µ§©®™ªº«»¡¿•·\u00a0]")
_STRANGE_SHARE = 0.1


@dataclass(frozen=True)
class Text:
    """The file's text as UTF-8 without a byte order mark, and what was assumed."""

    data: pa.Buffer
    warnings: tuple[str, ...] = ()


def utf8_text(data: pa.Buffer, name: str, encoding: str | None) -> Text:
    """`data` as UTF-8.

    A byte order mark decides, else the `encoding` given, else UTF-8. Bytes that aren't
    UTF-8 are taken for cp1252 (Windows, western Europe) when they read like it: no
    byte that cp1252 lacks, nowhere four such characters in a row, nine in ten of them
    letters and signs that western texts use, and no proper UTF-8 before them.

    Raises `InvalidInput` naming the offset of the first bad byte.
    """
    _refuse_binary(data, name)
    head = bytes(data[:4])
    for mark, codec in _BOMS:
        if head.startswith(mark):
            return _checked(_decoded(data, name, codec), name)
    start = 3 if head.startswith(codecs.BOM_UTF8) else 0
    if encoding is not None and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
        return _checked(_decoded(data, name, encoding), name)
    text = data.slice(start)
    bad = _first_bad_byte(text)
    if bad is None:
        return _checked(Text(text), name)
    western = _western(text, bad) if encoding is None else None
    if western is None:
        raise _not_text(data, name, "UTF-8", start + bad)
    warning = f"{name} isn't UTF-8: it was read as cp1252 (give --encoding if it isn't)."
    return _checked(Text(western, (warning,)), name)


def find(data: pa.Buffer, byte: bytes) -> int:
    """The offset of the first such byte, or -1."""
    for start in range(0, data.size, _BLOCK):
        at = bytes(data.slice(start, min(_BLOCK, data.size - start))).find(byte)
        if at >= 0:
            return start + at
    return -1


def _refuse_binary(data: pa.Buffer, name: str) -> None:
    head = bytes(data[:4])
    for magic, words, fix in _MAGIC:
        if head.startswith(magic):
            raise InvalidInput(f"{name} is {words}.", fix, code="file_not_text")


def _checked(text: Text, name: str) -> Text:
    at = find(text.data, b"\0")
    if at >= 0:
        raise InvalidInput(
            f"{name} isn't text: it holds a zero byte at offset {at}.",
            "Give --encoding utf-16 if it is such text; else export it as CSV.",
            code="file_not_text",
            details={"offset": at},
        )
    return text


def _decoded(data: pa.Buffer, name: str, encoding: str) -> Text:
    try:
        text = bytes(data).decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_text(data, name, encoding, error.start) from error
    return Text(pa.py_buffer(text.removeprefix("\ufeff").encode()))


def _first_bad_byte(data: pa.Buffer) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    held = 0  # bytes of a character cut by the end of the last block
    for start in range(0, max(data.size, 1), _BLOCK):
        block = bytes(data.slice(start, min(_BLOCK, data.size - start)))
        try:
            decoder.decode(block, final=start + _BLOCK >= data.size)
        except UnicodeDecodeError as error:
            return start - held + error.start
        held = len(decoder.getstate()[0])
    return None


def _western(data: pa.Buffer, bad: int) -> pa.Buffer | None:
    if not bytes(data.slice(0, bad)).isascii():
        return None  # proper UTF-8 went before: this is one damaged character
    try:
        text = bytes(data).decode("cp1252")
    except UnicodeDecodeError:
        return None
    foreign = _FOREIGN.findall(text)
    strange = sum(_WESTERN.match(one) is None for one in foreign)
    if _WESTERN_RUN.search(text) or strange > _STRANGE_SHARE * len(foreign):
        return None
    return pa.py_buffer(text.encode())


def _not_text(data: pa.Buffer, name: str, encoding: str, offset: int) -> InvalidInput:
    before: Sequence[int] = bytes(data.slice(0, offset))
    line = bytes(before).count(b"\n") + 1
    return InvalidInput(
        f"{name} isn't {encoding} text: byte 0x{bytes(data[offset : offset + 1]).hex()} at offset"
        f" {offset} (line {line}).",
        "Save it as UTF-8, or name its encoding: --encoding latin-1 (in the API, the option"
        " encoding).",
        code="file_encoding",
        details={"offset": offset, "line": line, "encoding": encoding},
    )
