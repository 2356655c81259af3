"""Small words of the terminal: colors, times, numbers. Nothing heavy is imported."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_ANSI = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}

# Everything a terminal would obey instead of show; tab and newline stay.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STATUS_COLORS: dict[str, str] = {
    "succeeded": "green",
    "committed": "green",
    "live": "green",
    "champion": "green",
    "accepted": "green",
    "activated": "green",
    "chosen": "green",
    "settled": "green",
    "advanced": "cyan",
    "canary": "cyan",
    "shadow": "cyan",
    "aborted": "yellow",
    "reverted": "yellow",
    "fired": "green",
    "failed": "red",
    "rejected": "red",
    "refused": "red",
    "cancelled": "yellow",
    "skipped": "dim",
    "ignored": "dim",
    "retired": "dim",
    "running": "cyan",
    "queued": "dim",
}


def paint(text: str, style: str | None, color: bool) -> str:
    """`text` in a style, if colors are wanted and there is one."""
    return f"\x1b[{_ANSI[style]}m{text}\x1b[0m" if color and style else text


def clean(text: str) -> str:
    """`text` without anything that would steer the terminal."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """`text` cleaned, as a cell of a table: no line and no column ends in it."""
    return clean(text).replace("\n", " ").replace("\t", " ")


def moment(value: str | None) -> datetime | None:
    """An ISO time of the API."""
    return datetime.fromisoformat(value) if value else None


def clock(value: str | None) -> str:
    """A time of the API in the reader's own zone, to the second."""
    when = moment(value)
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else "-"


def ago(value: str | None) -> str:
    """How long a time of the API is past."""
    when = moment(value)
    if when is None:
        return "-"
    return f"{duration(max(0.0, (datetime.now(UTC) - when).total_seconds()))} ago"


def took(start: str | None, end: str | None) -> str:
    """From `start` to `end`, or until now."""
    began, ended = moment(start), moment(end)
    if began is None:
        return "-"
    return duration(max(0.0, ((ended or datetime.now(UTC)) - began).total_seconds()))


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 5s`, `2h 10m`, `4d 3h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, below, smaller in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller}{below}"
    return f"{whole // 60}m {whole % 60}s" if whole >= 60 else f"{whole}s"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def number(value: Any) -> str:
    """A number as short as it may be read; anything else whole, None as `-`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else word(value)
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"


def word(value: Any) -> str:
    """A value in JSON's words (`true`, `null`, `["a", 1]`), with all its digits; a text bare."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def pairs(values: Mapping[str, Any], limit: int = 8) -> str:
    """`rmse 0.61, mae 0.4`."""
    shown = [f"{key} {number(value)}" for key, value in list(values.items())[:limit]]
    return ", ".join(shown) + (", …" if len(values) > limit else "")
