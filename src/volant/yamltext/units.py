"""Durations and sizes as people write them: `30s`, `2m`, `512MB`, `1GiB`."""

from __future__ import annotations

import re
from decimal import Decimal

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,20})?) ?(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,15})?) ?([KMGT]i?B|B)")

DURATION_FORM = "a number with a unit: 500ms, 30s, 2m, 1h or 1d"
SIZE_FORM = "a number with a unit: 512MB, 1GB, 512MiB or 1GiB"


def seconds(text: str) -> float | None:
    """The duration in seconds, or None when `text` is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    if match[2] == "ms":  # dividing keeps 500ms at exactly 0.5
        return float(match[1]) / 1000
    return float(match[1]) * _SECONDS[match[2]]


def duration_text(value: float) -> str:
    """The shortest form that `seconds` reads back as exactly `value` (≥ 1 ms)."""
    if value == int(value):
        whole = int(value)
        for unit in ("d", "h", "m"):
            size = int(_SECONDS[unit])
            if whole and whole % size == 0:
                return f"{whole // size}{unit}"
        return f"{whole}s"
    thousands = round(value * 1000)
    if thousands / 1000 == value:
        return f"{thousands}ms"
    return f"{value!r}s"


def byte_count(text: str) -> int | None:
    """The size in bytes, or None when `text` is none. MB is 10⁶, MiB is 2²⁰."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    return int(Decimal(match[1]) * _BYTES[match[2]])


def size_text(value: int) -> str:
    """The shortest form that `byte_count` reads back as exactly `value`."""
    for unit, size in sorted(_BYTES.items(), key=lambda item: -item[1]):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}B"
