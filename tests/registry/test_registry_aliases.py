"""Aliases that people give, and those that are the platform's own."""

from __future__ import annotations

from typing import Any

import pytest
from registry_world import World

from volant.app.registry import Registry
from volant.errors import Conflict, InvalidInput, NotFound


@pytest.fixture
def registry(world: World) -> Registry:
    unused: Any = None
    return Registry(
        world.store,
        world.models,
        world.registered,
        registrations=unused,
        uploads=unused,
        run=unused,
        using=lambda _name, _version: None,
    )


def test_an_alias_moves_and_goes(world: World, registry: Registry) -> None:
    for _ in range(2):
        world.register("wine")
    assert registry.alias("wine", "tried", "1") == {"challenger": 2, "tried": 1}
    assert world.models.get("wine", "tried").version == 1
    assert registry.alias("wine", "tried", "challenger")["tried"] == 2
    assert registry.alias("wine", "tried", None) == {"challenger": 2}
    with pytest.raises(NotFound, match="alias tried not found") as told:
        registry.alias("wine", "tried", None)
    assert told.value.error_code == "model.no_alias"
    assert "challenger" in told.value.fix


def test_an_alias_that_is_not_there_is_told_in_few_words(world: World, registry: Registry) -> None:
    world.register("wine")
    for number in range(30):
        registry.alias("wine", f"{number:02}" + "a" * 200, 1)
    with pytest.raises(NotFound) as told:
        registry.alias("wine", "tried", None)
    assert len(told.value.fix) < 600


@pytest.mark.parametrize("alias", ["champion", "challenger"])
@pytest.mark.parametrize("version", ["2", None])
def test_the_platforms_own_are_refused_where_they_follow_what_serves(
    world: World, registry: Registry, alias: str, version: str | None
) -> None:
    for _ in range(3):
        world.register("wine")
    world.deployment("wine")
    world.activate("wine", 1)
    before = registry.alias("wine", "mine", 1)
    assert {"champion", "challenger"} < set(before)
    with pytest.raises(Conflict, match="isn't moved by hand") as told:
        registry.alias("wine", alias, version)
    assert told.value.error_code == "model.alias_follows"
    assert world.registered.get("wine").aliases == before


@pytest.mark.parametrize("alias", ["7", "champion"])
def test_what_an_mlflow_client_set_is_removed(world: World, registry: Registry, alias: str) -> None:
    version = world.only_registered("wine")
    world.registered.set_alias("wine", alias, version.version)
    assert registry.alias("wine", alias, None) == {}
    with pytest.raises(NotFound):
        registry.alias("wine", alias, None)


@pytest.mark.parametrize("alias", ["1", "v1", "latest", "a b", "a/b"])
def test_what_reads_like_a_version_is_no_alias(
    world: World, registry: Registry, alias: str
) -> None:
    world.register("wine")
    with pytest.raises(InvalidInput):
        registry.alias("wine", alias, 1)


def test_a_version_that_is_not_there_tells_the_command_that_lists_them(
    world: World, registry: Registry
) -> None:
    world.register("old wine")
    with pytest.raises(NotFound, match="no version '9'"):
        registry.alias("old wine", "tried", 9)
    with pytest.raises(NotFound) as told:
        world.registered.set_alias("old wine", "tried", 9)
    assert "`volant models --model 'old wine'`" in told.value.fix
