"""The statistics that training left among a version's files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, NoReturn, cast

from volant.domain.codec import from_plain
from volant.domain.model import ModelVersion
from volant.domain.statistics import FORMAT, STATISTICS_FILE, TrainingStatistics
from volant.errors import Conflict, InvalidInput
from volant.registry.desk import ModelDesk

_MOST_BYTES = 16 << 20


def read_statistics(models: ModelDesk, version: ModelVersion) -> TrainingStatistics | None:
    """Those of the version, or None if it has none: it wasn't trained by a loop, or before
    there were any.

    Raises `Conflict` when its file isn't the one that was registered, or nothing that this
    Volant can read: a version may come from another one.
    """
    registered = version.files.get(STATISTICS_FILE)
    if registered is None:
        return None
    try:
        with (models.folder(version) / STATISTICS_FILE).open("rb") as file:
            body = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _altered(version) from error
    if hashlib.sha256(body).hexdigest() != registered:
        raise _altered(version)
    return _parsed(body, version)


def _altered(version: ModelVersion) -> Conflict:
    return Conflict(
        f"{STATISTICS_FILE} of {version.model} version {version.version} is missing, altered or "
        "larger than any that training writes.",
        "Restore the artifact store from a backup; `volant models verify` tells the rest.",
        code="artifact_altered",
    )


def _parsed(body: bytes, version: ModelVersion) -> TrainingStatistics:
    try:
        told = json.loads(body, parse_constant=_no_number)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ValueError(f"its format isn't {FORMAT}")
        found = from_plain(TrainingStatistics, told)
        _check(found)
    except (ValueError, KeyError, OverflowError, RecursionError, InvalidInput) as error:
        what = error.what if isinstance(error, InvalidInput) else str(error)
        raise Conflict(
            f"{STATISTICS_FILE} of {version.model} version {version.version} can't be read: "
            f"{what[:200]}",
            "Another Volant wrote it: update this one.",
            code="model.statistics_unreadable",
        ) from error
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _check(found: TrainingStatistics) -> None:
    """Raises `ValueError` for what no column can have: it would break those who draw it."""
    if not all(map(math.isfinite, _floats(asdict(found)))):
        raise ValueError("a number in it isn't finite")
    for column in (*found.columns, found.label):
        numbers = column.numbers
        if numbers is not None and not numbers.min <= numbers.quantiles["p50"] <= numbers.max:
            raise ValueError(f"the range of {column.name!r} isn't around its median")


def _floats(value: Any) -> Iterator[float]:
    """Every fraction in a dataclass that was taken apart."""
    if isinstance(value, Mapping):
        value = tuple(cast("Mapping[str, Any]", value).values())
    if isinstance(value, tuple | list):
        for one in cast("tuple[Any, ...]", value):
            yield from _floats(one)
    elif isinstance(value, float):
        yield value
