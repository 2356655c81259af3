"""How a delivered file is to be read: what a user may say, checked."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volant.errors import InvalidInput
from volant.yamltext.problems import nearest

FORMATS = ("csv", "parquet", "jsonl")
_NAMES = ("format", "delimiter", "encoding")
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """None everywhere: found out from the file."""

    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


def file_options(given: Mapping[str, Any] | None) -> FileOptions:
    """Checked options. Raises `InvalidInput` naming the first that can't be used."""
    values: dict[str, str] = {}
    for name, value in (given or {}).items():
        if name not in _NAMES:
            near = nearest(name, _NAMES)
            raise InvalidInput(
                f"There is no option {name!r} for reading files.",
                f"Did you mean {near!r}?" if near else f"Use one of: {', '.join(_NAMES)}.",
                code="unknown_option",
            )
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"The option {name} is {value!r}.", "Give it as text.")
        values[name] = value
    return FileOptions(
        _format(values.get("format")),
        _delimiter(values.get("delimiter")),
        _encoding(values.get("encoding")),
    )


def _format(value: str | None) -> str | None:
    known = {**{name: name for name in FORMATS}, "json": "jsonl", "ndjson": "jsonl", "tsv": "csv"}
    if value is None or value.lower() in known:
        return value and known[value.lower()]
    raise InvalidInput(
        f"{value!r} is no format that can be read.", f"Use one of: {', '.join(FORMATS)}."
    )


def _delimiter(value: str | None) -> str | None:
    if value is None:
        return None
    value = _WORDS.get(value.lower(), value)
    if len(value) == 1 and value.isascii() and value not in '"\r\n\0':
        return value
    raise InvalidInput(
        f"{value!r} can't separate columns.", "Give one character such as ; or | or the word tab."
    )


def _encoding(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        found = codecs.lookup(value)
    except LookupError:
        found = None
    # The flag is how the standard library marks codecs such as hex that aren't text.
    if found is None or not getattr(found, "_is_text_encoding", True):
        raise InvalidInput(
            f"{value!r} is no text encoding.", "Use for instance utf-8, cp1252, latin-1 or utf-16."
        )
    return found.name
