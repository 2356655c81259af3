"""Pruning keeps the newest and whatever is needed; all else goes, with its files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import World

from volant.domain.model import Stage
from volant.errors import InvalidInput, NotFound
from volant.registry.retention import RetentionDesk, plan
from volant.testing import samples


def idle(_model: str, _version: int) -> str | None:
    return None


def desk(world: World) -> RetentionDesk:
    return RetentionDesk(
        world.models, world.registered, lambda name, version: world.busy.get((name, version))
    )


def fate(found: list) -> dict[int, str | None]:
    return {one.version: one.reason for one in found}


def test_it_tells_first_and_does_it_when_asked(world: World) -> None:
    versions = [world.register("wine") for _ in range(5)]
    world.registered.set_alias("wine", "mine", 1)
    told = fate(desk(world).prune(2, "wine"))
    assert {v for v, reason in told.items() if reason is None} == {2, 3}
    assert "mine" in str(told[1])
    assert len(world.models.page(9, name="wine")[0]) == 5
    done = desk(world).prune(2, "wine", apply=True)
    assert {one.version for one in done if one.done} == {2, 3}
    assert [v.version for v in world.models.page(9, name="wine")[0]] == [5, 4, 1]
    for event in world.store.events.pending(99):
        world.models.discard(event.data.get("uris", []))
    for version in versions:
        there = (world.root / "artifacts" / version.uri.removeprefix("artifacts:/")).is_dir()
        assert there == (version.version in (1, 4, 5))
    assert not [one for one in desk(world).prune(2, "wine", apply=True) if one.done]


def test_what_serves_and_its_ancestors_stay(world: World) -> None:
    world.deployment("wine")
    for number in range(1, 5):
        champion = world.models.champion("wine")
        world.register("wine", parent=champion.version if champion else None)
        if number < 3:
            world.activate("wine", number)
    world.register("wine", passed=False, parent=2)
    told = fate(desk(world).prune(1, "wine"))
    assert told[5] == "it is among the newest"
    assert told[4] is not None  # the alias challenger
    assert told[3] is None
    assert "served" in str(told[2])
    assert told[1] is not None  # a rollback goes there, and 2 was made to replace it


def test_of_all_models(world: World) -> None:
    for name in ("beer", "wine"):
        for _ in range(2):
            world.register(name, passed=False)
    found = desk(world).prune(1, apply=True)
    assert [(one.model, one.version) for one in found if one.done] == [("beer", 1), ("wine", 1)]
    with pytest.raises(NotFound):
        desk(world).prune(1, "gin")
    with pytest.raises(InvalidInput):
        desk(world).prune(0)


def test_what_a_batch_works_with_stays(world: World) -> None:
    for _ in range(2):
        world.register("wine", passed=False)
    world.busy["wine", 1] = "The run batch-1"
    assert "batch-1" in str(fate(desk(world).prune(1, "wine", apply=True))[1])


def test_one_that_comes_into_use_meanwhile_stays(world: World) -> None:
    for _ in range(2):
        world.register("wine", passed=False)
    late = RetentionDesk(world.models, world.registered, idle)
    world.busy["wine", 1] = "The run batch-1"  # after it was planned
    (kept,) = [one for one in late.prune(1, "wine", apply=True) if one.version == 1]
    assert not kept.done
    assert "batch-1" in str(kept.reason)


def test_children_with_smaller_numbers_go_first(world: World) -> None:
    """A version that was prepared late replaces a champion with a higher number."""
    world.only_registered("wine")
    world.register("wine")
    world.deployment("wine")
    world.activate("wine", 2)
    world.prepare(world.models.get("wine", 1))
    assert world.models.get("wine", 1).lineage.parent_version == 2
    world.store.deployments.delete("wine")
    for number in (1, 2):
        world.models.retire("wine", number, "ann")
    world.register("wine", passed=False)
    done = desk(world).prune(1, "wine", apply=True)
    assert {one.version for one in done if one.done} == {1, 2}


@given(data=st.data())
def test_no_child_of_what_stays_lacks_its_parent(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    numbers = range(1, count + 1)
    versions = []
    for number in numbers:
        made = samples.model_version("wine", stage=Stage.CANDIDATE, version=number)
        parent = data.draw(st.none() | st.integers(1, count))
        aliases = ("mine",) if data.draw(st.integers(0, 5)) == 0 else ()
        lineage = replace(made.lineage, parent_version=parent if parent != number else None)
        versions.append(replace(made, lineage=lineage, aliases=aliases))
    keep = data.draw(st.integers(1, 4))
    uses = dict.fromkeys(data.draw(st.sets(st.sampled_from(numbers))), "it serves")
    found = fate(plan(versions, keep, uses, idle))
    assert set(found) == set(numbers)
    stays = {number for number, reason in found.items() if reason is not None}
    assert stays >= set(sorted(numbers)[-keep:]) | set(uses)
    by_number = {version.version: version for version in versions}
    needed = {n for n in numbers if by_number[n].aliases or n in uses or n > count - keep}
    reached = set(needed)
    while more := {
        parent
        for n in reached
        if (parent := by_number[n].lineage.parent_version) is not None and parent not in reached
    }:
        reached |= more
    assert stays == reached
