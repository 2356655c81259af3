"""`WWW-Authenticate`: how a registry wants to be asked (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAM = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)')
_SCHEME = re.compile(rf"\s*,?\s*({_WORD})(?:\s+|\s*$|\s*,)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` is in lower case; `params` have lower-case names."""

    scheme: str
    params: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a header, which may hold several. What can't be read ends it."""
    found: list[Challenge] = []
    place = 0
    while place < len(header):
        scheme = _SCHEME.match(header, place)
        if scheme is None:
            break
        place = scheme.end()
        params: dict[str, str] = {}
        while match := _PARAM.match(header, place):
            quoted, bare = match[2], match[3]
            text = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            params.setdefault(match[1].lower(), text)
            place = match.end()
        found.append(Challenge(scheme[1].lower(), params))
    return found


def best_challenge(headers: list[str]) -> Challenge | None:
    """Bearer before Basic; None when neither is offered."""
    offered = [challenge for header in headers for challenge in parse_challenges(header)]
    for scheme in ("bearer", "basic"):
        for challenge in offered:
            if challenge.scheme == scheme:
                return challenge
    return None
