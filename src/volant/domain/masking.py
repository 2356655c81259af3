"""Secrets that somebody prints, taken out of what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote

from volant.domain.job import JobResult

MASK = "***"
_SHORTEST = 4  # characters; a shorter secret would blot out half of every line


def maskable(secrets: Iterable[str]) -> tuple[str, ...]:
    """The texts to look for: each line of each secret, also as it stands in a URL, the
    longest first."""
    lines = {line.strip() for secret in secrets for line in secret.splitlines()}
    forms = lines | {quote(line, safe="") for line in lines}
    return tuple(sorted((each for each in forms if len(each) >= _SHORTEST), key=_by_length))


def masked(text: str, secrets: Sequence[str]) -> str:
    """`text` without the secrets, which are as `maskable` gives them."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def masked_value(value: Any, secrets: Sequence[str]) -> Any:
    """A plain value whose texts, keys among them, are masked."""
    if not secrets:
        return value
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {masked_value(key, secrets): masked_value(each, secrets) for key, each in items}
    if isinstance(value, list | tuple):
        return [masked_value(each, secrets) for each in cast("Sequence[Any]", value)]
    return value


def concealed(result: JobResult, secrets: Sequence[str]) -> JobResult:
    """A job's result without the secrets that its outputs or its error tell."""
    if not secrets:
        return result
    outputs, error = masked_value(result.outputs, secrets), masked_value(result.error, secrets)
    return replace(result, outputs=outputs, error=error)


def _by_length(text: str) -> tuple[int, str]:
    return -len(text), text
