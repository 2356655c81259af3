"""One call's parameters, from its JSON body or its query, read with MLflow's leniency:
numbers may be texts (as protobuf writes 64 bits), enumerations names or numbers."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import orjson

from volant.errors import InvalidInput

Member = TypeVar("Member", bound=StrEnum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FINITE = {
    "nan": math.nan,
    "infinity": math.inf,
    "inf": math.inf,
    "-infinity": -math.inf,
    "-inf": -math.inf,
}


def wrong(name: str, value: object, expected: str) -> InvalidInput:
    """The error for a parameter of the wrong kind."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return InvalidInput(
        f"Invalid value {shown} for parameter '{name}' supplied: expected {expected}.",
        "See MLflow's REST API.",
        code="invalid_parameter",
    )


def missing(name: str) -> InvalidInput:
    """The error for a parameter that isn't there."""
    return InvalidInput(
        f"Missing value for required parameter '{name}'.",
        "See MLflow's REST API.",
        code="invalid_parameter",
    )


class Fields:
    """Parameters by name. `at` is where they stand, for messages."""

    def __init__(self, values: Mapping[str, Any], at: str = "") -> None:
        self._values = values
        self._at = at

    @classmethod
    def of_body(cls, body: bytes) -> Fields:
        """Those of a JSON object; nothing at all is an empty one."""
        if not body.strip():
            return cls({})
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(
                f"The body isn't JSON: {error}.", "Send a JSON object.", code="invalid_parameter"
            ) from None
        if not isinstance(values, dict):
            raise wrong("body", values, "a JSON object")
        return cls(values)

    @classmethod
    def of_query(cls, items: Sequence[tuple[str, str]]) -> Fields:
        """Those of a query; a name that comes twice is a list."""
        values: dict[str, Any] = {}
        for name, value in items:
            if name in values:
                before = values[name]
                values[name] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                values[name] = value
        return cls(values)

    def having(self, **more: str | list[str]) -> Fields:
        """With other parameters, such as those of the path."""
        return Fields({**self._values, **more}, self._at)

    def given(self, name: str) -> bool:
        return self._values.get(name) is not None

    def plain(self, *names: str) -> tuple[Any, ...] | None:
        """The values as they came, when exactly these names are there: for what comes by the
        thousand in its usual form, to be looked at more closely if it isn't."""
        values = self._values
        if len(values) != len(names):
            return None
        try:
            return tuple([values[name] for name in names])
        except KeyError:
            return None

    def text(self, *names: str) -> str:
        """The first of `names` that is there; raises for none or an empty one."""
        for name in names:
            found = self.maybe(name)
            if found:
                return found
        raise missing(f"{self._at}{names[0]}")

    def maybe(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        # An integer's text is what was sent; a fraction's, or a very large number's, isn't.
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise wrong(f"{self._at}{name}", value, "a string")

    def value(self, name: str) -> str:
        """A text that may be empty; whatever has no text is written as JSON."""
        found = self._values.get(name)
        if found is None:
            return ""
        return found if isinstance(found, str) else orjson.dumps(found).decode()

    def whole(self, name: str, default: int | None = None) -> int:
        value = self._values.get(name)
        if value is None or value == "":
            if default is None:
                raise missing(f"{self._at}{name}")
            return default
        if isinstance(value, bool):
            raise wrong(f"{self._at}{name}", value, "a whole number")
        try:
            number = int(value) if not isinstance(value, float) else _whole(value)
        except (ValueError, TypeError, OverflowError):
            raise wrong(f"{self._at}{name}", value, "a whole number") from None
        if not -(2**63) <= number < 2**63:
            raise wrong(f"{self._at}{name}", value, "at most 64 bits")
        return number

    def number(self, name: str) -> float:
        """A float64; NaN and infinities as protobuf's JSON spells them."""
        value = self._values.get(name)
        if value is None:
            raise missing(f"{self._at}{name}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                return _NOT_FINITE.get(value.lower()) or float(value)
            except ValueError:
                pass
        raise wrong(f"{self._at}{name}", value, "a number")

    def time(self, name: str) -> datetime | None:
        """Milliseconds since 1970; None when it isn't there, or zero."""
        ms = self.whole(name, 0)
        if ms == 0:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=ms)
        except OverflowError:
            raise wrong(f"{self._at}{name}", ms, "milliseconds since 1970") from None

    def member(self, name: str, kind: type[Member], by_number: Sequence[Member]) -> Member | None:
        """A member of `kind` by its value, or by its number in protobuf (from 1)."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, int | str) and str(value).isdecimal():
            index = int(value) - 1
            if 0 <= index < len(by_number):
                return by_number[index]
        elif isinstance(value, str) and value in {one.value for one in kind}:
            return kind(value)
        raise wrong(f"{self._at}{name}", value, "one of " + ", ".join(one.value for one in kind))

    def texts(self, name: str) -> list[str]:
        value = self._values.get(name)
        if value is None:
            return []
        items = value if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, str):
                raise wrong(f"{self._at}{name}", item, "a list of strings")
        return items

    def ids(self, name: str) -> list[str]:
        """What may be one id or a list of them; whatever can't be one is left out."""
        value = self._values.get(name)
        items = value if isinstance(value, list) else [value]
        return [
            str(item)
            for item in items
            if isinstance(item, str | int) and not isinstance(item, bool) and item != ""
        ]

    def inner_ids(self, name: str, key: str) -> list[str]:
        """The different ids that objects of a list have under `key`."""
        value = self._values.get(name)
        items = value if isinstance(value, list) else []
        found = [item.get(key) for item in items if isinstance(item, dict)]
        return list(dict.fromkeys(one for one in found if isinstance(one, str) and one))

    def several(self, name: str) -> Iterator[Fields]:
        """A list of objects."""
        value = self._values.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise wrong(f"{self._at}{name}", value, "a list")
        for i, item in enumerate(value):
            at = f"{self._at}{name}[{i}]"
            if not isinstance(item, dict):
                raise wrong(at, item, "an object")
            yield Fields(item, at + ".")

    def inner(self, name: str) -> Fields:
        """An object in it."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise missing(f"{self._at}{name}") if value is None else wrong(name, value, "an object")
        return Fields(value, f"{self._at}{name}.")

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A list of `{"key", "value"}`."""
        return [(item.text("key"), item.value("value")) for item in self.several(name)]

    def limit(self, default: int, most: int, name: str = "max_results") -> int:
        """How many rows a page may have."""
        found = self.whole(name, default)
        if not 1 <= found <= most:
            raise wrong(name, found, f"a number from 1 to {most}")
        return found

    def offset(self) -> int:
        """Where the page of `page_token` begins."""
        token = self.maybe("page_token")
        if not token:
            return 0
        try:
            found = orjson.loads(base64.urlsafe_b64decode(token.encode()))["offset"]
        except (binascii.Error, ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, int) or not 0 <= found < 2**31:
            raise wrong("page_token", token, "the next_page_token of the page before")
        return found


def next_token(offset: int, limit: int) -> str:
    """The token of the page after this one."""
    return base64.urlsafe_b64encode(orjson.dumps({"offset": offset + limit})).decode()


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError(value)
    return int(value)
