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
    with pytest.raises(NotFound, match="has no alias 'tried'") as told:
        registry.alias("wine", "tried", None)
    assert "challenger" in told.value.fix


@pytest.mark.parametrize("alias", ["champion", "challenger"])
@pytest.mark.parametrize("version", ["1", None])
def test_the_platforms_own_are_refused(
    world: World, registry: Registry, alias: str, version: str | None
) -> None:
    world.register("wine")
    before = registry.alias("wine", "mine", 1)
    with pytest.raises(Conflict, match="isn't moved by hand"):
        registry.alias("wine", alias, version)
    assert world.registered.get("wine").aliases == before


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
