"""Where secrets stand in what is stored: `secret://EXTENSION/SERVICE/CREDENTIALS/KEY`.

It may stand inside longer text. None of the four has a slash in it, and where the key ends
the credentials tell: it is the longest of their keys that the text goes on with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from volant.domain.workflow import SEALED
from volant.errors import NotFound

PREFIX = SEALED
OWN = "volant"  # the extension, in the place of a name, whose secrets are the step's own
_PLACE = re.compile(r"secret://([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)/")
_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Whose secrets they are."""

    extension: str
    service: str
    credentials: str

    def __str__(self) -> str:
        return f"{self.extension}/{self.service}/{self.credentials}"


def placeholder(extension: str, service: str, credentials: str, key: str) -> str:
    """What stands for one secret."""
    return f"{PREFIX}{extension}/{service}/{credentials}/{key}"


def replaced(text: str, secrets: Callable[[Place], Mapping[str, str]]) -> str:
    """`text` with each placeholder's secret in its place; `secrets` are those of a place.
    Raises `NotFound` for a key that isn't there."""
    parts: list[str] = []
    at = 0
    for found in _PLACE.finditer(text):
        place = Place(*found.groups())
        known = secrets(place)
        rest = text[found.end() :]
        key = max((key for key in known if rest.startswith(key)), key=len, default=None)
        if key is None:
            word = _KEY.match(rest)
            raise NotFound(
                f"The credentials {place} have no secret {word[0][:100] if word else ''!r}.",
                f"They have: {', '.join(sorted(known)) or 'none'}.",
                code="extensions.secret",
                details={"credentials": str(place), "keys": sorted(known)},
            )
        parts += (text[at : found.start()], known[key])
        at = found.end() + len(key)
    return "".join((*parts, text[at:]))
