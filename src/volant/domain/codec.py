"""Domain dataclasses to plain JSON values and back, strictly.

One form everywhere: dataclasses as objects of their fields, tuples as lists, enums by
value, datetimes as ISO 8601 in UTC, paths as text. JSON has no NaN and no infinity:
they travel as the strings that Protocol Buffers' JSON mapping uses ("NaN",
"Infinity", "-Infinity") and come back as numbers wherever the field's type is float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from volant.errors import InvalidInput

T = TypeVar("T")
Decoder = Callable[[Any, str], Any]

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_plain(value: Any) -> Any:
    """`value` as dicts, lists, strings, numbers, booleans and None.

    Raises `InvalidInput` for anything that has no JSON form, such as bytes, a set, a
    datetime without a time zone, or a mapping whose keys aren't strings.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_plain_key(key): to_plain(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in cast("Sequence[Any]", value)]
    return _plain_leaf(value)


def from_plain(kind: type[T], data: Any) -> T:
    """Rebuild a `kind` (a dataclass, or any type its fields may have) from plain data.

    Raises `InvalidInput` naming the path of the first value that doesn't fit: a key
    that isn't a field, a field without default that is missing, a wrong type.
    """
    return decoder(kind)(data, getattr(kind, "__name__", str(kind)))


def _plain_float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain_key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise InvalidInput(
            f"{key!r} is a key of type {type(key).__name__}, and JSON keys are strings.",
            "Make the key a string.",
        )
    return key


def _plain_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise InvalidInput(
            f"{value.isoformat()} has no time zone.", "Give the time in UTC, with its zone."
        )
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# In this order: an enum may be a string or a number too, and is its value here.
_LEAVES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    (float, _plain_float),
    (datetime, _plain_time),
    (PurePath, str),
    (int, int),
    (str, str),
)


def _plain_leaf(value: Any) -> Any:
    for kind, plain in _LEAVES:
        if isinstance(value, kind):
            return plain(value)
    raise InvalidInput(
        f"A {type(value).__name__} has no JSON form: {value!r:.200}",
        "Give strings, numbers, booleans, lists and objects only.",
    )


def _wrong(where: str, expected: str, data: Any) -> InvalidInput:
    return InvalidInput(
        f"{where} must be {expected}, not {data!r:.200}.",
        f"Give {expected} there.",
        code="invalid_value",
        details={"path": where, "expected": expected},
    )


@cache
def decoder(kind: Any) -> Decoder:
    """The function `(data, where) -> kind` for a type; made once for each type."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if get_origin(kind) is not None:
        return _generic(get_origin(kind), get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    raise TypeError(f"no plain form is defined for {kind!r}")


def _generic(origin: Any, members: tuple[Any, ...]) -> Decoder:
    if origin in (Union, UnionType):
        return _union(members)
    if origin is tuple:
        return _tuple(members)
    if issubclass(origin, Mapping):
        return _mapping(*members)
    if issubclass(origin, Sequence):
        return _list(*members)
    raise TypeError(f"no plain form is defined for {origin!r}")


def _any(data: Any, where: str) -> Any:
    return data


def _none(data: Any, where: str) -> None:
    if data is not None:
        raise _wrong(where, "null", data)


def _bool(data: Any, where: str) -> bool:
    if not isinstance(data, bool):
        raise _wrong(where, "true or false", data)
    return data


def _int(data: Any, where: str) -> int:
    if not isinstance(data, int) or isinstance(data, bool):
        raise _wrong(where, "an integer", data)
    return data


def _float(data: Any, where: str) -> float:
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return float(data)
    if isinstance(data, str) and data in _NON_FINITE:
        return _NON_FINITE[data]
    raise _wrong(where, "a number", data)


def _str(data: Any, where: str) -> str:
    if not isinstance(data, str):
        raise _wrong(where, "a string", data)
    return data


def _datetime(data: Any, where: str) -> datetime:
    if isinstance(data, str):
        try:
            time = datetime.fromisoformat(data)
        except ValueError:
            time = None
        if time is not None and time.tzinfo is not None:
            return time.astimezone(UTC)
    raise _wrong(where, "a time like 2030-01-31T09:30:00Z", data)


def _path(data: Any, where: str) -> Path:
    return Path(_str(data, where))


_SIMPLE: dict[Any, Decoder] = {
    Any: _any,
    NoneType: _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    datetime: _datetime,
    Path: _path,
}


def _union(members: tuple[Any, ...]) -> Decoder:
    optional = NoneType in members
    rest = [decoder(member) for member in members if member is not NoneType]

    def decode(data: Any, where: str) -> Any:
        if data is None and optional:
            return None
        if len(rest) == 1:  # its own message is better than ours
            return rest[0](data, where)
        for member in rest:
            try:
                return member(data, where)
            except InvalidInput:
                continue
        names = " or ".join(getattr(member, "__name__", str(member)) for member in members)
        raise _wrong(where, f"one of {names}", data)

    return decode


def _tuple(members: tuple[Any, ...]) -> Decoder:
    if len(members) == 2 and members[1] is Ellipsis:
        sequence = _list(members[0])
        return lambda data, where: tuple(sequence(data, where))
    parts = [decoder(member) for member in members]

    def decode(data: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(data, (list, tuple)) or len(cast("Sequence[Any]", data)) != len(parts):
            raise _wrong(where, f"a list of {len(parts)}", data)
        items = cast("Sequence[Any]", data)
        return tuple(
            part(item, f"{where}[{index}]")
            for index, (part, item) in enumerate(zip(parts, items, strict=True))
        )

    return decode


def _list(member: Any) -> Decoder:
    part = decoder(member)

    def decode(data: Any, where: str) -> list[Any]:
        if not isinstance(data, (list, tuple)):
            raise _wrong(where, "a list", data)
        items = cast("Sequence[Any]", data)
        return [part(item, f"{where}[{index}]") for index, item in enumerate(items)]

    return decode


def _mapping(key_kind: Any, value_kind: Any) -> Decoder:
    key_part, value_part = decoder(key_kind), decoder(value_kind)

    def decode(data: Any, where: str) -> dict[Any, Any]:
        if not isinstance(data, Mapping):
            raise _wrong(where, "an object", data)
        items = cast("Mapping[Any, Any]", data).items()
        return {
            key_part(key, f"{where} (key)"): value_part(item, f"{where}.{key}")
            for key, item in items
        }

    return decode


def _enum(kind: type[Enum]) -> Decoder:
    members = {member.value: member for member in kind}
    expected = "one of " + ", ".join(str(value) for value in members)

    def decode(data: Any, where: str) -> Enum:
        # True == 1, so a boolean would otherwise pass for an IntEnum's first member.
        if isinstance(data, bool) or not isinstance(data, (str, int)) or data not in members:
            raise _wrong(where, expected, data)
        return members[data]

    return decode


def _dataclass(kind: type[Any]) -> Decoder:
    required = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }

    @cache  # on first use, not now: a class may hold itself
    def parts() -> dict[str, Decoder]:
        hints = get_type_hints(kind)
        return {field.name: decoder(hints[field.name]) for field in fields(kind)}

    def decode(data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            raise _wrong(where, "an object", data)
        given = cast("Mapping[Any, Any]", data)
        known = parts()
        if unknown := [key for key in given if key not in known]:
            raise InvalidInput(
                f"{where} has no field {unknown[0]!r}.",
                f"Its fields are: {', '.join(known)}.",
                code="unknown_field",
                details={"path": where, "field": str(unknown[0])},
            )
        if missing := [key for key in known if key in required and key not in given]:
            raise InvalidInput(
                f"{where} lacks the field {missing[0]!r}.",
                f"Add {missing[0]!r}.",
                code="missing_field",
                details={"path": where, "field": missing[0]},
            )
        return kind(**{key: known[key](item, f"{where}.{key}") for key, item in given.items()})

    return decode
