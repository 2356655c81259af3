"""Runnables: registered, changed and deleted; manifests know what they write."""

from __future__ import annotations

import pytest

from volant.errors import Conflict, InvalidInput, NotFound

TEXT = "id: a\nkind: trainer\ncontainer: {image: x}\noutputs: {model: {type: model}, score: {}}\n"


def test_the_same_again_changes_nothing(runnables, store):
    first = runnables.register(TEXT)
    assert runnables.register(TEXT + "# a comment\n") == first
    assert runnables.get("a") == first
    assert len(store.events.pending(10)) == 1
    with pytest.raises(Conflict, match="another runnable 'a'"):
        runnables.register(TEXT.replace("image: x", "image: y"))


def test_an_update_counts(runnables, store):
    first = runnables.register(TEXT)
    changed = runnables.update(TEXT.replace("trainer", "builder"))
    assert (changed.generation, changed.spec.kind) == (2, "builder")
    assert changed.created_at == first.created_at
    assert runnables.update(TEXT.replace("trainer", "builder")) == changed
    assert runnables.list(kind="builder") == [changed]
    assert runnables.list(kind="trainer") == []
    events = store.events.pending(10)
    assert [event.type for event in events] == [
        "volant.runnable.registered",
        "volant.runnable.updated",
    ]
    assert events[1].data["generation"] == 2


def test_what_isnt_there(runnables):
    runnables.register(TEXT.replace("id: a", "id: train"))
    for act in (runnables.get, runnables.delete):
        with pytest.raises(NotFound, match="Did you mean train"):
            act("trian")
    with pytest.raises(NotFound):
        runnables.update(TEXT)
    with pytest.raises(InvalidInput):
        runnables.register("id: [")


def test_manifests_know_what_they_write(runnables):
    runnables.register(TEXT)
    assert runnables.uses() == {"runnable/a": ("model", "score")}
    runnables.delete("a")
    assert runnables.uses() == {}
