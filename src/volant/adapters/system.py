"""The real clock, and identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def _base32(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


class SystemClock:
    """`Clock` on the machine's time."""

    def now(self) -> datetime:
        """The present in UTC."""
        return datetime.now(UTC)


class SortableIds:
    """`Ids` of 48 bits of milliseconds and 40 random bits, like a ULID but shorter."""

    def new(self, prefix: str) -> str:
        """`<prefix>-` and 18 characters that sort by time."""
        millis = int(datetime.now(UTC).timestamp() * 1000)
        return f"{prefix}-{_base32(millis, 10)}{_base32(secrets.randbits(40), 8)}"
