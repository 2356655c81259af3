"""Deleting: what is needed stays with the reason, what goes goes with its files."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from registry_world import World

from volant.domain.event import MODEL_DELETED
from volant.errors import Conflict, NotFound
from volant.store import Store, sqlite_url


def refusal(world: World, version: int) -> str:
    with pytest.raises(Conflict) as caught:
        world.delete("wine", version)
    assert caught.value.error_code == "model.in_use"
    assert caught.value.fix
    found = world.models.get("wine", version)
    world.artifacts.verify(found.uri, found.files)
    return caught.value.what


def test_a_version_and_its_files_go(world: World) -> None:
    world.register("wine")
    version = world.register("wine")
    world.registered.set_alias("wine", "mine", 2)
    world.registered.set_version_tag("wine", 2, "a", "b")
    world.delete("wine", 2)
    with pytest.raises(NotFound):
        world.artifacts.local_path(version.uri)
    with pytest.raises(NotFound):
        world.models.get("wine", 2)
    assert "mine" not in world.registered.get("wine").aliases
    events, _ = world.store.events.page(1, subject="model/wine")
    assert (events[0].type, events[0].data["version"]) == (MODEL_DELETED, 2)
    assert world.register("wine").version == 3  # a number isn't given again


@pytest.mark.parametrize("status", ["pending", "ready", "canary", "shadow", "live"])
def test_what_serves_or_is_about_to_stays(world: World, status: str) -> None:
    from dataclasses import replace

    from volant.domain.deployment import RevisionStatus
    from volant.testing import samples

    world.deployment("wine")
    world.activate("wine", world.register("wine").version)
    number = world.register("wine").version
    if status == "live":
        world.activate("wine", number)
    else:
        revision = world.request("wine", number)
        if status != "pending":
            assert world.store.revisions.move(revision, "ready")
        if status in ("canary", "shadow"):
            ready = world.store.revisions.get("wine", revision.number)
            to = replace(
                ready, status=RevisionStatus(status), step=0, percent=10.0, since=samples.NOW
            )
            assert world.store.revisions.roll(ready, to, samples.event(), samples.decision())
    assert "served by the deployment 'wine'" in refusal(world, number)


def test_a_deployment_of_another_name_counts(world: World) -> None:
    from dataclasses import replace

    from volant.testing import samples

    world.store.deployments.ensure(replace(samples.deployment("wine"), name="trial"))
    number = world.register("wine").version
    world.store.revisions.request(samples.revision("trial", number))
    assert "'trial'" in refusal(world, number)


def test_what_a_rollback_goes_to_stays(world: World) -> None:
    world.deployment("wine")
    for _ in range(3):
        world.activate("wine", world.register("wine").version)
    assert "rollback" in refusal(world, 2)
    back = world.activate("wine", 2, restores=2)  # as `volant rollback` asks
    assert back.model_version == 2
    assert "rollback" in refusal(world, 1)  # rolling back again goes further back
    world.delete("wine", 3)


def test_a_champion_stays_until_it_is_retired(world: World) -> None:
    world.deployment("wine")
    world.activate("wine", world.register("wine").version)
    world.store.deployments.delete("wine")
    assert "champion" in refusal(world, 1)
    world.models.retire("wine", 1, "ann")
    world.delete("wine", 1)


def test_what_another_one_replaced_stays(world: World) -> None:
    world.register("wine")
    world.register("wine", parent=1)
    assert "lineage of version 2" in refusal(world, 1)
    world.delete("wine", 2)
    world.delete("wine", 1)


def test_what_a_batch_works_with_stays(world: World) -> None:
    world.register("wine")
    world.busy["wine", 1] = "The run batch-1"
    assert "batch-1" in refusal(world, 1)


def test_a_prepared_version_takes_both_its_folders_along(world: World) -> None:
    registered = world.only_registered("wine")
    prepared = world.prepare(registered)
    assert registered.uri != prepared.uri
    assert prepared.runtime["registered_uri"] == registered.uri
    world.delete("wine", 1)
    for uri in (registered.uri, prepared.uri):
        with pytest.raises(NotFound):
            world.artifacts.local_path(uri)


def test_a_deleted_model_takes_all_its_files_along(world: World) -> None:
    uris = [world.register("wine").uri, world.only_registered("wine").uri]
    world.registered.delete("wine")
    (event,) = [e for e in world.store.events.pending(99) if e.type == MODEL_DELETED]
    assert sorted(event.data["uris"]) == sorted(uris)
    world.models.discard(event.data["uris"])
    for uri in uris:
        with pytest.raises(NotFound):
            world.artifacts.local_path(uri)


def test_the_same_content_registered_again_keeps_its_files(world: World) -> None:
    """The removal of a deleted version's files may come after they are needed again."""
    folder = world.folder("same")
    world.register("wine", run="import-1", folder=folder)
    world.registered.delete_version("wine", 1)
    again = world.register("wine", run="import-1", folder=folder)
    events = [e for e in world.store.events.pending(99) if e.type == MODEL_DELETED]
    for event in events:
        world.models.discard(event.data["uris"])
    assert again.version == 2
    world.artifacts.verify(again.uri, again.files)


def test_killed_before_the_files_are_gone_they_go_later(
    world: World, store: Store, tmp_path: Path
) -> None:
    version = world.register("wine")
    store.close()
    child = os.fork()
    if child == 0:
        os.environ["VOLANT_CRASH_AT"] = "delete.recorded"
        with Store(sqlite_url(tmp_path / "volant.db")) as own:
            World(own, tmp_path).delete("wine", 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    with pytest.raises(NotFound):
        world.models.get("wine", 1)
    assert world.artifacts.local_path(version.uri)
    for event in store.events.pending(99):  # the next start of the platform reads it again
        if event.type == MODEL_DELETED:
            world.models.discard(event.data["uris"])
    with pytest.raises(NotFound):
        world.artifacts.local_path(version.uri)


def test_servable_needs_a_signature_and_an_example(world: World) -> None:
    from volant.domain.model import Signature

    assert world.models.servable("wine", world.register("wine").version)
    bare = world.root / "bare"
    bare.mkdir()
    (bare / "model.onnx").write_bytes(b"x")
    number = world.register("wine", folder=bare, signature=Signature((), (), "x")).version
    with pytest.raises(Conflict, match="lacks a signature and an input example") as caught:
        world.models.servable("wine", number)
    assert "--example" in caught.value.fix
