"""Statistics among a version's files are read if they are what was registered, and sound."""

from __future__ import annotations

import json
from typing import Any

import pytest
from registry_world import World

from volant.domain.codec import to_plain
from volant.domain.statistics import STATISTICS_FILE
from volant.errors import Conflict
from volant.registry.statistics import read_statistics
from volant.testing import samples


def registered(world: World, body: str) -> Any:
    folder = world.folder("described")
    (folder / STATISTICS_FILE).write_text(body, encoding="utf-8")
    return world.register("wine", folder=folder)


def plain(**changes: Any) -> dict[str, Any]:
    return {**to_plain(samples.training_statistics()), **changes}


def numbers(**changes: Any) -> dict[str, Any]:
    told = plain()
    told["columns"][0]["numbers"] |= changes
    return told


def test_they_are_read_as_they_were_written(world: World) -> None:
    version = registered(world, json.dumps(plain()))
    assert read_statistics(world.models, version) == samples.training_statistics()


def test_a_version_without_them_has_none(world: World) -> None:
    assert read_statistics(world.models, world.register("wine")) is None


def test_an_altered_file_is_refused(world: World) -> None:
    version = registered(world, json.dumps(plain()))
    file = world.models.folder(version) / STATISTICS_FILE
    file.chmod(0o600)
    file.write_text(json.dumps(plain(rows=11)))
    with pytest.raises(Conflict) as caught:
        read_statistics(world.models, version)
    assert caught.value.error_code == "artifact_altered"
    file.unlink()
    with pytest.raises(Conflict):
        read_statistics(world.models, version)


@pytest.mark.parametrize(
    "told",
    [
        "", "{", "[]", "null", "[" * 100_000, "1" * 5000,
        plain(format=2), plain(rows="ten"), plain(more=1), plain(columns=[{}]),
        numbers(min="NaN"), numbers(max="Infinity"), numbers(mean=10**400),
        numbers(min=9.5), numbers(quantiles={}), numbers(quantiles={"p50": 10.0}),
        json.dumps(numbers(std=1.5)).replace("1.5", "1e999"),
        json.dumps(numbers(std=1.5)).replace("1.5", "NaN"),
    ],
    ids=lambda told: str(told)[:20],
)  # fmt: skip
def test_what_nobody_could_draw_is_refused(world: World, told: Any) -> None:
    body = told if isinstance(told, str) else json.dumps(told)
    version = registered(world, body)
    with pytest.raises(Conflict) as caught:
        read_statistics(world.models, version)
    assert caught.value.error_code == "model.statistics_unreadable"
    assert "wine version 1" in caught.value.what


def test_a_larger_file_than_training_writes_is_refused(world: World) -> None:
    version = registered(world, "1" * ((16 << 20) + 1))
    with pytest.raises(Conflict):
        read_statistics(world.models, version)
