"""The one way a replica says no."""

from __future__ import annotations

from collections.abc import Iterable

from volant.yamltext import problems


class Refusal(Exception):
    """An answer with `status` and `{"error": text}`. `headers` are complete lines,
    each with its CRLF."""

    def __init__(self, status: int, text: str, headers: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


def shown(value: object, limit: int = 60) -> str:
    """`value` as JSON-like text for a message, cut to `limit` characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?` when one of `known` is like `name`, else nothing."""
    found = problems.nearest(name, known)
    return f' Did you mean "{found}"?' if found else ""
